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

import pytest
from detectron2.utils.events import JSONWriter

import scb_d2.utils.files
from scb_d2.engine.training.parts import with_parts
from scb_d2.utils.files import PARTIAL_SUFFIX, atomic_write
from tests.engine.conftest import LAZY
from tests.faults.runs import run_process, tiny_config


def _at_write(name: str, act: Callable[[], object]) -> Callable[[], None]:
    """What makes a process act when half of the first piece of this file is written."""

    def prepare() -> None:
        def opening(path: Any, *args: Any, **kwargs: Any) -> Any:
            file = builtins.open(path, *args, **kwargs)  # noqa: SIM115
            if Path(path).name == f"{name}{PARTIAL_SUFFIX}":
                original = file.write

                def write(data: Any) -> None:
                    original(data[: len(data) // 2])
                    file.flush()
                    act()

                file.write = write
            return file

        scb_d2.utils.files.open = opening

    return prepare


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    before = path.read_bytes()
    act = _die if fault == "kill" else _fill_the_disk
    command = ["--config-file", finished, "SEED", "4"]
    ended = run_process(command, folder / "log", _at_write(path.name, act))
    assert path.read_bytes() == before
    if fault == "kill":
        assert ended.status == -signal.SIGKILL
        assert path.with_name(f"{path.name}{PARTIAL_SUFFIX}").exists()
        return
    assert ended.status == 1
    assert "cannot be written (No space left on device)" in ended.output.splitlines()[-1]
    assert "Traceback" not in ended.output
    assert not list(path.parent.glob(f"*{PARTIAL_SUFFIX}"))


def test_what_a_killed_run_left_is_cleaned_up(folder: Path, finished: Path) -> None:
    run = folder / "run"
    partial = [run / f"{name}{PARTIAL_SUFFIX}" for name in FILES]
    for path in partial:
        path.touch()
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


OUTSIDE = "outside"


def _function(*, given: str = "default") -> tuple[str, str]:
    return OUTSIDE, given


def test_parts_are_exchanged_in_a_copy_only() -> None:
    assert with_parts(_function, OUTSIDE="inside")() == ("inside", "default")
    assert _function(given="x") == ("outside", "x")
