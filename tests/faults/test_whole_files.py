"""Files are replaced by whole ones only, whoever writes them and whenever the process dies."""

from __future__ import annotations

import builtins
import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iopath.common.file_io
import pytest
from detectron2.utils.events import JSONWriter

import scb_d2.evaluation.coco_evaluator
import scb_d2.utils.files
from scb_d2.utils.files import PARTIAL_SUFFIX, atomic_write, staged_directory
from tests.engine.conftest import LAZY
from tests.faults.runs import run_process, tiny_config


def _at_write(name: str, act: Callable[[], object]) -> Callable[[], None]:
    """What makes a process act when half of the first piece of this file is written.

    It is written beside its place or in a folder beside that.
    """

    def prepare() -> None:
        def opening(path: Any, *args: Any, **kwargs: Any) -> Any:
            file = builtins.open(path, *args, **kwargs)  # noqa: SIM115
            if PARTIAL_SUFFIX in str(path) and Path(path).name.startswith(name):
                original = file.write

                def write(data: Any) -> None:
                    original(data[: len(data) // 2])
                    file.flush()
                    act()

                file.write = write
            return file

        for module in (scb_d2.utils.files, scb_d2.evaluation.coco_evaluator, iopath.common.file_io):
            module.open = opening

    return prepare


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_is_written_where_a_killed_process_of_the_same_number_left_one(
    tmp_path: Path,
) -> None:
    left = tmp_path / f".out.partial-{os.getpid()}"
    left.mkdir()
    (left / "old.txt").write_text("half")
    with staged_directory(tmp_path / "out") as stage:
        (stage / "new.txt").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new.txt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    """The config of a run that has written all its files."""
    config = tiny_config(
        folder,
        "run",
        SOLVER__MAX_ITER=2,
        TEST={"EVAL_PERIOD": 2, "BEST_METRIC": "bbox/AP"},
    )
    ended = run_process(["--config-file", config], folder / "log")
    assert ended.status == 0, ended.output
    return config


def _partial(run: Path) -> set[Path]:
    return set(run.rglob(f"*{PARTIAL_SUFFIX}*"))


FILES = (
    "config.yaml",
    "model_final.pth",
    "results.json",
    "inference/instances_predictions.pth",
    "inference/coco_instances_results.json",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", ["kill", "full disk"])
def test_the_old_file_stays(folder: Path, finished: Path, name: str, fault: str) -> None:
    path = folder / "run" / name
    before, partial = path.read_bytes(), _partial(folder / "run")
    act = _die if fault == "kill" else _fill_the_disk
    command = ["--config-file", finished, "SEED", "4"]
    ended = run_process(command, folder / "log", _at_write(path.name, act))
    assert path.read_bytes() == before
    if fault == "kill":
        assert ended.status == -signal.SIGKILL
        assert _partial(folder / "run")
        return
    assert ended.status == 1
    assert "cannot be written (No space left on device)" in ended.output.splitlines()[-1]
    assert "Traceback" not in ended.output
    assert _partial(folder / "run") <= partial


def test_what_a_killed_run_left_is_cleaned_up(folder: Path, finished: Path) -> None:
    run = folder / "run"
    partial = [run / f"{name}{PARTIAL_SUFFIX}" for name in FILES]
    for path in partial:
        path.touch()
    partial += [run / f".inference{PARTIAL_SUFFIX}-1", run / "inference" / f".a{PARTIAL_SUFFIX}-1"]
    for path in partial[-2:]:
        path.mkdir()
    metrics = run / "metrics.json"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole + b'{"iteration": 1, "lo')
    ended = run_process(["--config-file", finished], folder / "log")
    assert ended.status == 0, ended.output
    assert not any(path.exists() for path in partial)
    # The file is appended to while the run goes on, so it has to stay the same one.
    lines = metrics.read_bytes()
    assert lines.startswith(whole)
    assert json.loads(lines[len(whole) :].splitlines()[0])["iteration"] == 1


def test_a_lazy_config_is_saved_whole(tmp_path: Path) -> None:
    config = tmp_path / "lazy.py"
    config.write_text(LAZY.format(root=str(tmp_path / "shapes"), output=str(tmp_path / "run")))
    saved = tmp_path / "run" / "config.yaml"
    saved.parent.mkdir()
    saved.write_text("old")
    command = ["--config-file", config, "train.device=cpu"]
    ended = run_process(command, tmp_path / "log", _at_write("config.yaml", _die))
    assert ended.status == -signal.SIGKILL
    assert saved.read_text() == "old"


def test_a_full_disk_that_only_metrics_meet(folder: Path, finished: Path) -> None:
    def prepare() -> None:
        JSONWriter.write = lambda self: _fill_the_disk()

    ended = run_process(["--config-file", finished], folder / "log", prepare)
    assert ended.status == 1
    assert ended.output.splitlines()[-1].startswith("a file cannot be written (No space left")
    assert "Traceback" not in ended.output


def test_a_folder_that_cannot_be(folder: Path, finished: Path) -> None:
    (folder / "taken").touch()
    command = ["--config-file", finished, "OUTPUT_DIR", folder / "taken" / "run"]
    ended = run_process(command, folder / "log")
    assert ended.status == 1
    assert f"cannot be a folder: {folder / 'taken'} is a file." in ended.output.splitlines()[-1]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write("new")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
