from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scb_d2.cli import quickstart
from scb_d2.engine.config.load import load_config
from scb_d2.quickstart.progress import duration
from scb_d2.utils.hardware import available_cores

from .conftest import TINY


@pytest.fixture
def start(scb_d2, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.getbasetemp() / "quickstart_shapes"

    def run(output: Path, *words: str, iterations: int = 2, restart: bool = False):
        flags = ["--output", output, *(["--restart"] if restart else [])]
        opts = [*TINY, "SOLVER.MAX_ITER", iterations, "DATASETS.SYNTHETIC.ROOT", root, *words]
        return scb_d2("quickstart", *flags, *opts)

    return run


def test_trains_evaluates_pictures_and_says_so(start, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = start(out)
    assert done.status == 0, done.err
    for name in ("detections.png", "curves.png"):
        assert min(Image.open(out / name).size) > 300
    for name in ("model_final.pth", "config.yaml", "metrics.json", "matches/matches.html"):
        assert (out / name).is_file()
    assert "iteration    2 of 2" in done.out
    assert "d2.data" not in done.out, "Detectron2's log belongs into the file"
    assert "Starting training" in (out / "log.txt").read_text()
    closing = done.out[done.out.index("Trained and evaluated") :]
    for word in ("AP ", "APs", "APm", "APl", "small", str(out), "predict", "compare", "COCO"):
        assert word in closing

    finished = json.loads((out / "quickstart.json").read_text())
    again = start(out)
    assert again.status == 0
    assert "finished" in again.out and "--restart" in again.out and "AP " in again.out
    assert "iteration" not in again.out
    assert json.loads((out / "quickstart.json").read_text()) == finished


def test_goes_on_after_an_interruption_or_starts_over(start, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start(out).status == 0
    (out / "quickstart.json").unlink()  # as if killed between two checkpoints
    (out / "model_final.pth").unlink()
    (out / "last_checkpoint").write_text("model_0000000.pth")
    done = start(out)
    assert done.status == 0, done.err
    assert "going on after iteration 1" in done.out

    (out / "mine.txt").write_text("kept")
    other = start(out, iterations=1)
    assert other.status == 1
    assert "SOLVER.MAX_ITER" in other.err and "--restart" in other.err
    assert (out / "quickstart.json").is_file()
    assert start(out, iterations=1, restart=True).status == 0
    assert (out / "mine.txt").read_text() == "kept"


def test_output_that_is_a_file_is_refused(start, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    done = start(tmp_path / "run")
    assert done.status == 1 and "is a file" in done.err
    assert (tmp_path / "run").read_text() == "mine"


def test_the_baseline_differs_in_the_loss_only(repo_root: Path) -> None:
    ours, baseline = (
        load_config(str(repo_root / "configs" / f"{name}.yaml"))
        for name in ("quickstart", "quickstart_baseline")
    )
    assert ours.MODEL.SCB.ENABLED and not baseline.MODEL.SCB.ENABLED
    for cfg in (ours, baseline):
        cfg.defrost()
        del cfg.MODEL["SCB"], cfg["OUTPUT_DIR"]
    assert ours == baseline


def test_default_config_is_the_checkouts(repo_root: Path) -> None:
    assert quickstart._default_config() == str(repo_root / "configs" / "quickstart.yaml")


@pytest.mark.parametrize(
    ("text", "most"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 10**6)]
)
def test_cores_respect_the_containers_quota(tmp_path: Path, text: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert 1 <= available_cores(tmp_path / "cpu.max") <= most
    assert available_cores(tmp_path / "missing") >= 1


def test_duration() -> None:
    assert [duration(x) for x in (0.4, 59, 60, 185)] == ["0 s", "59 s", "1 min 00 s", "3 min 05 s"]
