"""Small data sets on disk for the tests of the data package."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from scb_d2.data.checks import check_dataset
from scb_d2.data.checks.report import DatasetReport
from scb_d2.data.registration import register_coco, register_voc

COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 2, 10, 12],
            "area": 120,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 2,
            "category_id": 5,
            "bbox": [5, 5, 20, 20],
            "area": 400,
            "iscrowd": 0,
        },
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}],
}


def write_coco(folder: Path, change: Callable[[dict], Any] = lambda content: None) -> Path:
    """Write ``a.json`` and ``images/`` of a sound two-image data set, changed by ``change``."""
    content = copy.deepcopy(COCO)
    change(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(folder / "images" / name)
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def voc_object(name: str = "cat", box: tuple = (2, 3, 11, 14), difficult: int | None = 0) -> str:
    """XML of one object."""
    corners = "".join(
        f"<{key}>{value}</{key}>"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    details = f"<pose>Left</pose><truncated>0</truncated>{flag}"
    return f"<object><name>{name}</name>{details}<bndbox>{corners}</bndbox></object>"


def write_voc(folder: Path, images: dict[str, str]) -> Path:
    """Write a VOC-layout data set with split ``val``; ``images`` maps ids to XML of objects."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets/Main/val.txt").write_text("".join(f"{image_id}\n" for image_id in images))
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    for image_id, objects in images.items():
        xml = f"<annotation>{size}{objects}</annotation>"
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml)
        Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    return folder


def check_coco(
    name: str,
    json_file: Path | str,
    images: Path | str,
    expected_classes: list[str] | None = None,
    **roles: Any,
) -> DatasetReport:
    """The report on a COCO file, registered under a name for the while."""
    register_coco(name, json_file, images)
    if expected_classes is not None:
        MetadataCatalog.get(name).thing_classes = expected_classes
    try:
        return check_dataset(name, **roles)
    finally:
        _forget(name)


def check_voc(
    name: str, folder: Path, split: str, classes: list[str], **roles: Any
) -> DatasetReport:
    """As :func:`check_coco`, of a VOC-layout data set."""
    register_voc(name, folder, split, classes)
    try:
        return check_dataset(name, **roles)
    finally:
        _forget(name)


def _forget(name: str) -> None:
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
