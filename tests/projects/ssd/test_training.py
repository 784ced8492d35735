"""SSD through the project's own commands."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scb_d2.cli import main as scb_d2
from scb_d2.engine.main import main as train_net
from tests.projects.common import check_trained, tiny_run

from .builders import CONFIGS

TINY = tiny_run(
    "MODEL.SSD.VGG_WIDTH", "0.02", "INPUT.SSD_AUGMENTATIONS", "('distort', 'expand', 'crop')"
)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two iterations of the toy schedule with the scale-balanced loss."""
    output = tmp_path / "run"
    argv = ["--config-file", str(CONFIGS / "ssd_toy_scb.yaml"), *TINY]
    assert train_net([*argv, "OUTPUT_DIR", str(output)]) == 0
    return output


def test_train_resume_evaluate_predict(run_folder: Path, tmp_path: Path) -> None:
    check_trained(run_folder)
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


@pytest.mark.slow
def test_overfits_real_images(shared_data: Path, tmp_path: Path) -> None:
    """Three photographs of COCO at 160 px, an eighth of the width, 150 iterations."""
    coco = shared_data / "tiny_coco" / "coco"
    source = json.loads((coco / "annotations" / "instances_train2017.json").read_text())
    by_image: dict[int, list[dict]] = {}
    for annotation in source["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    few = [
        image
        for image in source["images"]
        if 1 <= len(by_image.get(image["id"], [])) <= 4
        and not any(x["iscrowd"] for x in by_image[image["id"]])
    ][:3]
    annotations = [x for image in few for x in by_image[image["id"]]]
    classes = {x["category_id"] for x in annotations}
    categories = [x for x in source["categories"] if x["id"] in classes]
    dataset = {"info": {}, "images": few, "annotations": annotations, "categories": categories}
    (tmp_path / "few.json").write_text(json.dumps(dataset))
    entry = {
        "NAME": "few",
        "FORMAT": "coco",
        "JSON": str(tmp_path / "few.json"),
        "IMAGES": str(coco / "train2017"),
    }
    opts = [
        "MODEL.DEVICE", "cpu",
        "MODEL.SSD.NUM_CLASSES", str(len(categories)),
        "DATASETS.REGISTER", str([entry]),
        "DATASETS.TRAIN", "('few',)",
        "DATASETS.TEST", "('few',)",
        "DATALOADER.NUM_WORKERS", "0",
        "INPUT.SSD_AUGMENTATIONS", "()",
        "INPUT.RANDOM_FLIP", "none",
        "SOLVER.IMS_PER_BATCH", "3",
        "SOLVER.WARMUP_ITERS", "20",
        "SOLVER.MAX_ITER", "150",
        "OUTPUT_DIR", str(tmp_path / "run"),
    ]  # fmt: skip
    assert train_net(["--config-file", str(CONFIGS / "ssd_toy_scb.yaml"), *opts]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["few"]["bbox"]["AP50"] > 90
