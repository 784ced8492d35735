"""The collected inputs that failed elsewhere, through `train_net.py`: used, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scb_d2.engine.main import main
from tests.faults.runs import tiny_config

SHARED = Path(__file__).resolve().parents[4] / "shared"
CASES = SHARED / "cases"
IMAGES = SHARED / "data" / "bccd" / "images"
JSON_FILES = sorted((CASES / "json").glob("*.json"))
SHORT = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", "1", "TEST.EVAL_PERIOD", "0"]
SHORT += ["SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "0"]

REFUSED = {
    "case": "names image files that do not exist",
    "nan": "has boxes that are not four finite numbers",
    "norm": "has boxes in shares of the image",
    "wh_swapped": "has another width or height than the image files",
    "xyxy": "has boxes that leave their image, but fit as corners",
}
"""Names of cases whose meaning is not plain, with what is said of them."""

REFUSED_VOC = {
    "gbk": "has objects of a class that is not among its class names",
    "lower": "has objects of a class that is not among its class names",
    "nohdr_cn": "has objects of a class that is not among its class names",
    "swap": "has boxes of negative width or height",
}

pytestmark = pytest.mark.skipif(
    not (JSON_FILES and IMAGES.is_dir()), reason="needs the inputs of ../shared/cases"
)


def _train(
    entry: dict[str, Any], classes: int, capsys: pytest.CaptureFixture[str], *flags: str
) -> str:
    """What a run of one iteration and its evaluation says on stderr, "" where it ends well."""
    config = tiny_config(Path.cwd(), "run", TEST__BEST_METRIC="")
    names = ["DATASETS.TRAIN", "case", "DATASETS.TEST", "case"]
    data = ["DATASETS.REGISTER", str([{"NAME": "case", **entry}]), *names]
    model = ["MODEL.RETINANET.NUM_CLASSES", str(classes)]
    capsys.readouterr()
    status = main(["--config-file", str(config), *flags, *SHORT, *data, *model])
    error = capsys.readouterr().err.strip() if status else ""
    assert (status, Path("run").exists()) == ((1, False) if error else (0, True))
    return error.splitlines()[-1] if error else ""


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: path.stem)
def test_coco_files_are_trained_and_evaluated(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = len(json.loads(path.read_bytes())["categories"])
    error = _train({"FORMAT": "coco", "JSON": str(path), "IMAGES": str(IMAGES)}, classes, capsys)
    expected = REFUSED.get(path.stem, "")
    assert expected in error and bool(error) == bool(expected), error
    if not error:
        results = json.loads(Path("run/results.json").read_text())
        assert 0 <= results["case"]["bbox"]["AP"] <= 100


@pytest.mark.parametrize(
    "path",
    sorted([*(CASES / "masks").glob("*.json"), *(CASES / "kp").glob("*.json")]),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_boxes_are_trained_whatever_the_masks_and_keypoints(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = len(json.loads(path.read_bytes())["categories"])
    entry = {"FORMAT": "coco", "JSON": str(path), "IMAGES": str(IMAGES)}
    assert _train(entry, classes, capsys, "--no-rehearsal") == ""


@pytest.mark.parametrize(
    "folder", sorted((CASES / "voc").glob("*")), ids=lambda folder: folder.name
)
def test_voc_folders_are_trained_and_evaluated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["RBC", "WBC", "Platelets"]
    entry = {"FORMAT": "voc", "DIR": str(folder), "SPLIT": "train", "CLASSES": names}
    error = _train(entry, len(names), capsys, "--no-rehearsal")
    expected = REFUSED_VOC.get(folder.name, "")
    assert expected in error and bool(error) == bool(expected), error
