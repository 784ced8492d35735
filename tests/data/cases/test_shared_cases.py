"""The collected inputs that failed elsewhere, through `train_net.py`: used, or one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .runs import KEYPOINT_RCNN, KINDS, MASK_RCNN, Case, outcome, said_by_check

SHARED = Path(__file__).resolve().parents[4] / "shared"
CASES = SHARED / "cases"
IMAGES = SHARED / "data" / "bccd" / "images"
JSON_FILES = sorted((CASES / "json").glob("*.json"))
MASKS = sorted((CASES / "masks").glob("*.json"))
KEYPOINTS = sorted((CASES / "kp").glob("*.json"))
VOC_FOLDERS = sorted((CASES / "voc").glob("*"))
VOC_NAMES = ["RBC", "WBC", "Platelets"]

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


def _coco(path: Path, **more: Any) -> Case:
    """The case of an annotation file."""
    classes = len(json.loads(path.read_bytes())["categories"])
    entry = {"FORMAT": "coco", "JSON": str(path), "IMAGES": str(IMAGES)}
    return Case({**entry, **more.pop("entry", {})}, classes, **more)


def _ids(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def _voc(folder: Path | str) -> Case:
    entry = {"FORMAT": "voc", "DIR": str(folder), "SPLIT": "train", "CLASSES": VOC_NAMES}
    return Case(entry, len(VOC_NAMES))


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: path.stem)
def test_coco_files_are_trained_and_evaluated(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error, results = outcome("yaml", _coco(path), capsys)
    expected = REFUSED.get(path.stem, "")
    assert expected in error and bool(error) == bool(expected), error
    assert error or 0 <= results["bbox"]["AP"] <= 100


@pytest.mark.parametrize("name", [*REFUSED, "bom", "crowdnull", "strimg"])
def test_lazy_configs_train_on_them_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    error, results = outcome(
        "lazy", _coco(CASES / "json" / f"{name}.json"), capsys, "--no-rehearsal"
    )
    expected = REFUSED.get(name, "")
    assert expected in error and bool(error) == bool(expected), error
    assert error or 0 <= results["bbox"]["AP"] <= 100


@pytest.mark.parametrize("path", [*JSON_FILES, *MASKS, *KEYPOINTS, *VOC_FOLDERS], ids=_ids)
def test_a_lazy_config_gets_the_same_check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = _voc(path) if path.is_dir() else _coco(path)
    assert said_by_check("lazy", case, capsys) == said_by_check("yaml", case, capsys)


@pytest.mark.parametrize("path", [*MASKS, *KEYPOINTS], ids=_ids)
def test_boxes_are_trained_whatever_the_masks_and_keypoints(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome("yaml", _coco(path), capsys, "--no-rehearsal")[0] == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("path", "mask_format"),
    [(path, "polygon") for path in MASKS] + [(CASES / "masks" / "rle.json", "bitmask")],
    ids=lambda x: x if isinstance(x, str) else x.stem,
)
def test_masks_are_trained_and_evaluated(
    path: Path, mask_format: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = _coco(
        path,
        model=MASK_RCNN,
        yaml={"INPUT.MASK_FORMAT": mask_format},
        lazy=(f"dataloader.train.mapper.instance_mask_format={mask_format}",),
    )
    error, results = outcome(kind, case, capsys, "--no-rehearsal")
    expected = "" if path.stem in ("ok", "val") else "has annotations without a mask"
    if path.stem in ("rle", "urle"):
        expected = "has masks in RLE" if mask_format == "polygon" else ""
    assert expected in error and bool(error) == bool(expected), error
    assert error or set(results) == {"bbox", "segm"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", KEYPOINTS, ids=_ids)
def test_keypoints_are_trained_and_evaluated(
    path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    head, sigmas = "roi_heads.keypoint_head.num_keypoints", [0.1] * 5
    case = _coco(
        path,
        entry={"KEYPOINTS": list("abcde"), "FLIP_PAIRS": [["a", "b"]]},
        model=KEYPOINT_RCNN,
        yaml={"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 5, "TEST.KEYPOINT_OKS_SIGMAS": sigmas},
        lazy=(
            f"model.{head}=5",
            f"dataloader.evaluator.kpt_oks_sigmas={sigmas}",
            "dataloader.train.mapper.keypoint_hflip_indices=[1,0,2,3,4]",
        ),
    )
    error, results = outcome(kind, case, capsys, "--no-rehearsal")
    expected = "has no object to train on" if path.stem == "invisible" else ""
    assert expected in error and bool(error) == bool(expected), error
    assert error or set(results) == {"bbox", "keypoints"}


@pytest.mark.parametrize("folder", VOC_FOLDERS, ids=lambda folder: folder.name)
def test_voc_folders_are_trained_and_evaluated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error, _ = outcome("yaml", _voc(folder), capsys, "--no-rehearsal")
    expected = REFUSED_VOC.get(folder.name, "")
    assert expected in error and bool(error) == bool(expected), error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [True, False])
def test_voc_files_of_every_encoding_are_trained_and_evaluated(
    known: bool, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CASES / "voc" / "plain", "voc")
    odd = [p for p in (CASES / "voc_enc").glob("*.xml") if (p.stem != "no-such") == known]
    assert odd
    for path in odd:
        shutil.copy(path, Path("voc/Annotations"))
        Image.new("RGB", (6, 4)).save(Path("voc/JPEGImages", f"{path.stem}.jpg"))
        with Path("voc/ImageSets/Main/train.txt").open("a") as file:
            file.write(f"{path.stem}\n")
    error, results = outcome(kind, _voc("voc"), capsys, "--no-rehearsal")
    assert ("declares the unknown encoding 'no-such'" in error) == bool(error) == (not known)
    assert error or 0 <= results["bbox"]["AP"] <= 100


@pytest.mark.parametrize("kind", KINDS)
def test_deep_images_are_trained_and_evaluated(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted(path.name for path in (CASES / "depth").iterdir())
    content = {
        "images": [
            {"id": n, "file_name": name, "width": 640, "height": 480}
            for n, name in enumerate(images)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [200, 100, 150, 150]}
            for n in range(len(images))
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    Path("deep.json").write_text(json.dumps(content))
    entry = {"FORMAT": "coco", "JSON": "deep.json", "IMAGES": str(CASES / "depth")}
    ranges = ("dataloader.train.mapper.pixel_range=[0,4095]",)
    for case in (
        Case(entry, 1),
        Case(entry, 1, yaml={"INPUT.PIXEL_RANGE": [0, 4095]}, lazy=ranges),
    ):
        assert outcome(kind, case, capsys, "--no-rehearsal")[0] == ""
        shutil.rmtree("run")
