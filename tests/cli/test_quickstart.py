from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scb_d2.cli import quickstart
from scb_d2.data.blood_cells import BLOOD_CELLS
from scb_d2.engine.config.load import load_config
from scb_d2.quickstart.progress import duration
from scb_d2.utils.hardware import available_cores

from .conftest import TINY


@pytest.fixture
def start(scb_d2, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.getbasetemp() / "quickstart_shapes"

    def run(output: Path, *words: str, iterations: int = 2, restart: bool = False):
        flags = ["--data", "shapes", "--output", output, *(["--restart"] if restart else [])]
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
    for word in (
        "AP ",
        "APs",
        "APm",
        "APl",
        "small",
        str(out),
        "predict",
        "--against-stock",
        "COCO",
    ):
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


@pytest.fixture
def few_cells(tmp_path: Path) -> list[str]:
    """Overrides: four of the embedded photographs, 64 px, two iterations."""
    json_file, images = BLOOD_CELLS["blood_cells_test"]
    whole = json.loads(Path(json_file).read_text())
    whole["images"] = whole["images"][:4]
    kept = {x["id"] for x in whole["images"]}
    whole["annotations"] = [x for x in whole["annotations"] if x["image_id"] in kept]
    (tmp_path / "few.json").write_text(json.dumps(whole))
    entry = {"NAME": "few", "FORMAT": "coco", "JSON": str(tmp_path / "few.json"), "IMAGES": images}
    opts = [
        *("DATASETS.REGISTER", [entry], "DATASETS.TRAIN", "few", "DATASETS.TEST", "few"),
        *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "DATALOADER.NUM_WORKERS", 0),
        *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "MODEL.DEVICE", "cpu"),
    ]
    return [str(x) for x in opts]


def test_photographs_and_the_comparison_with_the_stock_loss(
    scb_d2, few_cells: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    done = scb_d2("quickstart", "--output", out, *few_cells)
    assert done.status == 0, done.err
    assert (
        "RetinaNet with the scale-balanced loss" in done.out
        and "] Checking the data, few" in done.out
    )
    command = next(x for x in done.out.splitlines() if "--against-stock" in x)
    words = command.split(" -m scb_d2 ")[1].split()
    assert words == ["quickstart", "--against-stock", "--output", str(out)]
    done = scb_d2(*words)
    assert done.status == 0, done.err
    stock, compared = tmp_path / "run_stock", tmp_path / "run_compare"
    assert "RetinaNet with its stock loss" in done.out and str(compared) in done.out
    assert (stock / "model_final.pth").is_file() and (compared / "compare.html").is_file()
    ours, theirs = (load_config(str(x / "config.yaml")).clone() for x in (out, stock))
    for cfg, enabled in ((ours, True), (theirs, False)):
        assert enabled == cfg.MODEL.SCB.ENABLED
        cfg.defrost()
        cfg.MODEL.SCB.ENABLED, cfg.OUTPUT_DIR = False, ""
    assert ours == theirs


def test_a_comparison_needs_a_finished_run(scb_d2, tmp_path: Path) -> None:
    done = scb_d2("quickstart", "--against-stock", "--output", tmp_path / "none")
    assert done.status == 1 and "needs a finished quick start in" in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_comparison_takes_no_other_settings(scb_d2, tmp_path: Path) -> None:
    (tmp_path / "quickstart.json").write_text('{"seconds": 1, "hardware": "a CPU"}')
    done = scb_d2("quickstart", "--against-stock", "--output", tmp_path, "SEED", "2")
    assert done.status == 1 and "settings of the finished run" in done.err


def test_the_baseline_differs_in_the_loss_only(repo_root: Path) -> None:
    ours, baseline = (
        load_config(str(repo_root / "configs" / f"{name}.yaml")).clone()
        for name in ("shapes_retinanet_scb", "shapes_retinanet")
    )
    assert ours.MODEL.SCB.ENABLED and not baseline.MODEL.SCB.ENABLED
    for cfg in (ours, baseline):
        cfg.defrost()
        del cfg.MODEL["SCB"], cfg["OUTPUT_DIR"]
    assert ours == baseline


@pytest.mark.parametrize("name", quickstart._CONFIGS.values())
def test_configs_are_the_checkouts(name: str, repo_root: Path) -> None:
    assert quickstart._checkout_config(name) == str(repo_root / "configs" / name)


def test_photographs_are_part_of_the_package() -> None:
    counts = {}
    for name, (json_file, folder) in BLOOD_CELLS.items():
        data = json.loads(Path(json_file).read_text())
        counts[name] = len(data["images"])
        for record in data["images"]:
            with Image.open(Path(folder, record["file_name"])) as photograph:
                assert photograph.size == (record["width"], record["height"]) == (320, 240)
        for thing in data["annotations"]:
            x, y, width, height = thing["bbox"]
            assert 0 <= x < x + width <= 320 and 0 <= y < y + height <= 240
            assert thing["area"] == width * height
    assert counts == {"blood_cells_train": 100, "blood_cells_test": 36}
    assert len(list(Path(folder).iterdir())) == 136
    assert "MIT License" in Path(folder).with_name("LICENSE").read_text()


@pytest.mark.parametrize(
    ("text", "most"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 10**6)]
)
def test_cores_respect_the_containers_quota(tmp_path: Path, text: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert 1 <= available_cores(tmp_path / "cpu.max") <= most
    assert available_cores(tmp_path / "missing") >= 1


def test_duration() -> None:
    assert [duration(x) for x in (0.4, 59, 60, 185)] == ["0 s", "59 s", "1 min 00 s", "3 min 05 s"]
