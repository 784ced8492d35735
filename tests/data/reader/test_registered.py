"""Dicts of data sets that Python code registers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util

from scb_d2.data.reader.ground_truth import coco_of
from scb_d2.data.reader.records import Records
from scb_d2.data.reader.registered import canonical_records
from scb_d2.errors import DataError

BOX = {"bbox": [1, 2, 11, 14], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}


def _records(*annotations: Any, names: list[str] | None = None, **image: Any) -> Records:
    record = {"file_name": "a.png", "image_id": 7, "height": 30, "width": 40, **image}
    return canonical_records("own", [record | {"annotations": list(annotations)}], names)


def _only(records: Records) -> dict[str, Any]:
    assert records.tally.findings() == []
    (image,) = records.images
    (annotation,) = image["annotations"]
    return annotation


def test_numpy_numbers_are_numbers() -> None:
    """Detectron2's tutorial writes ``"bbox": [np.min(px), np.min(py), ...]``."""
    px, py = [1, 4, 11], [2, 14, 3]
    annotation = {
        "id": np.int64(5),
        "bbox": [np.min(px), np.min(py), np.max(px), np.float32(14)],
        "bbox_mode": np.int64(BoxMode.XYXY_ABS),
        "category_id": np.int64(1),
        "iscrowd": np.int64(1),
        "area": np.float32(60),
    }
    records = _records(annotation, image_id=np.int64(3), width=np.int32(40))
    assert records.class_names == ["class 0", "class 1"]
    assert (records.images[0]["image_id"], type(records.images[0]["image_id"])) == (3, int)
    assert type(records.images[0]["width"]) is int
    read = _only(records)
    assert read == {
        "id": 5,
        "bbox": [1, 2, 10, 12],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 1,
        "iscrowd": 1,
        "area": 60,
    }
    numbers = (*read["bbox"], read["id"], read["category_id"], read["iscrowd"], read["area"])
    assert not any(isinstance(value, np.generic) for value in numbers)


def test_masks_as_pycocotools_makes_them_are_written_as_json() -> None:
    pixels = np.zeros((30, 40), np.uint8)
    pixels[2:14, 1:11] = 1
    mask = mask_util.encode(np.asfortranarray(pixels))
    own = {"segmentation": mask, "descriptor": np.zeros(3)}
    records = _records({**BOX, **own}, file_name=Path("a.png"))
    assert _only(records)["area"] == 120
    written = json.loads(json.dumps(coco_of(records)))
    assert written["images"][0]["file_name"] == "a.png"
    (annotation,) = written["annotations"]
    assert mask_util.decode(annotation["segmentation"]).tolist() == pixels.tolist()
    assert "descriptor" not in annotation
    assert isinstance(mask["counts"], bytes), "the user's own dict is left alone"


def test_keypoints_in_arrays_are_written_as_json() -> None:
    keypoints = np.array([1.5, 2.5, 2, 0.5, 0.5, 0], dtype=np.float32)
    (annotation,) = coco_of(_records({**BOX, "keypoints": keypoints}))["annotations"]
    assert json.dumps(annotation["keypoints"]) == "[1.0, 2.0, 2.0, 0.0, 0.0, 0.0]"
    assert json.dumps(annotation["num_keypoints"]) == "1"


def test_arrays_are_boxes_too() -> None:
    assert _only(_records({**BOX, "bbox": np.array([1, 2, 11, 14])}))["bbox"] == [1, 2, 10, 12]
    rotated = {**BOX, "bbox": np.array([9.0, 9, 4, 2, 30]), "bbox_mode": BoxMode.XYWHA_ABS}
    assert _only(_records(rotated))["bbox"] == [9, 9, 4, 2, 30]


@pytest.mark.parametrize("mode", [None, 7, "XYXY_ABS", BoxMode.XYXY_REL])
def test_an_unknown_box_mode_is_named(mode: Any) -> None:
    with pytest.raises(DataError) as wrong:
        _records({**BOX, "bbox_mode": mode}).refuse_faults()
    assert str(wrong.value) == (
        "The data set 'own' has boxes whose bbox_mode is none of BoxMode.XYXY_ABS, XYWH_ABS and "
        f"XYWHA_ABS: 1 (annotation 1 of image 7 with bbox_mode {mode!r})."
    )


@pytest.mark.parametrize("box", [5, "abcd", [1, 2, 3], [1, 2, 3, float("nan")], {1: 2}])
def test_what_is_no_box_is_named(box: Any) -> None:
    with pytest.raises(DataError, match="has boxes that are not four finite numbers"):
        _records({**BOX, "bbox": box}).refuse_faults()


@pytest.mark.parametrize("record", ["a.png", {"annotations": 5}, {"annotations": [BOX, 3]}])
def test_what_is_no_dict_is_refused_with_its_place(record: Any) -> None:
    with pytest.raises(DataError) as wrong:
        canonical_records("own", [{"file_name": "a.png"}, record], ["cat"])
    assert str(wrong.value) == (
        "The data set 'own' must hold dicts in Detectron2's format, with a list of dicts as "
        "annotations; what is at place 1 is none."
    )
