"""SSD through the project's own commands."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scb_d2.cli import main as scb_d2
from scb_d2.engine.main import main as train_net

from .builders import CONFIGS

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.SSD.VGG_WIDTH", "0.02",
    "DATASETS.SYNTHETIC.ROOT", "shapes",
    "DATASETS.SYNTHETIC.IMAGE_SIZE", "64",
    "DATASETS.SYNTHETIC.TRAIN_IMAGES", "4",
    "DATASETS.SYNTHETIC.VAL_IMAGES", "2",
    "DATALOADER.NUM_WORKERS", "0",
    "INPUT.SSD_AUGMENTATIONS", "('distort', 'expand', 'crop')",
    "SOLVER.IMS_PER_BATCH", "2",
]  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two iterations of the toy schedule with the scale-balanced loss."""
    output = tmp_path / "run"
    argv = ["--config-file", str(CONFIGS / "ssd_toy_scb.yaml"), *TINY]
    assert train_net([*argv, "SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(output)]) == 0
    return output


def test_train_resume_evaluate_predict(run_folder: Path, tmp_path: Path) -> None:
    metrics = [json.loads(x) for x in (run_folder / "metrics.json").read_text().splitlines()]
    logged = {key for line in metrics for key in line}
    assert {"loss_cls", "loss_box_reg", "num_pos_anchors", "scb/first/matches_p50"} <= logged
    results = json.loads((run_folder / "results.json").read_text())
    assert "AP50" in results["shapes_val"]["bbox"]

    argv = ["--config-file", str(run_folder / "config.yaml"), "--resume", *TINY]
    assert train_net([*argv, "SOLVER.MAX_ITER", "3", "OUTPUT_DIR", str(run_folder)]) == 0
    assert (run_folder / "model_0000002.pth").exists() or (run_folder / "model_final.pth").exists()
    argv = ["--config-file", str(run_folder / "config.yaml"), "--eval-only"]
    assert train_net([*argv, "MODEL.WEIGHTS", str(run_folder / "model_final.pth")]) == 0

    Image.new("L", (97, 33)).save(tmp_path / "grey.png")
    argv = ["predict", str(tmp_path / "grey.png"), "--config-file", str(run_folder / "config.yaml")]
    assert scb_d2([*argv, "--output", str(tmp_path / "out"), "--score-threshold", "0.0"]) == 0
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    for prediction in predictions:
        x, y, width, height = prediction["bbox"]
        assert x >= 0 and y >= 0 and x + width <= 97.01 and y + height <= 33.01


@pytest.mark.parametrize("augment", [[], ["--augment"]])
def test_match_report(augment: list[str], tmp_path: Path) -> None:
    argv = ["matches", "--config-file", str(CONFIGS / "ssd_toy_scb.yaml"), *augment]
    assert scb_d2([*argv, "--output", str(tmp_path / "report"), *TINY]) == 0
    assert any((tmp_path / "report").iterdir())
