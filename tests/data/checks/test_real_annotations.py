"""``scb-d2 check`` on photographs: unmodified COCO, and blood cells laid out as VOC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scb_d2.cli import main

CELLS = ["RBC", "WBC", "Platelets"]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    def run(entries: list[dict[str, Any]], num_classes: int, *flags: str) -> tuple[int, list[str]]:
        names = tuple(entry["NAME"] for entry in entries)
        config = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
        opts = ["MODEL.DEVICE", "cpu", "MODEL.RETINANET.NUM_CLASSES", str(num_classes)]
        opts += ["DATASETS.REGISTER", str(entries), "DATASETS.TRAIN", str(names[:1])]
        opts += ["DATASETS.TEST", str(names[1:])]
        status = main(["check", "--config-file", config, *flags, *opts])
        return status, capsys.readouterr().out.splitlines()

    return run


def _coco(folder: Path, split: str) -> dict[str, str]:
    annotations = folder / "annotations" / f"instances_{split}2017.json"
    images = folder / f"{split}2017"
    return {
        "NAME": f"tiny_{split}",
        "FORMAT": "coco",
        "JSON": str(annotations),
        "IMAGES": str(images),
    }


def test_unmodified_coco_passes(check: Callable[..., Any], shared_data: Path) -> None:
    folder = shared_data / "tiny_coco" / "coco"
    entries = [_coco(folder, "train"), _coco(folder, "val")]
    status, lines = check(entries, 80, "--strict")
    assert status == 0
    assert "tiny_train: 50 images, 470 objects" in lines
    assert "tiny_val: 50 images, 382 objects" in lines
    assert lines[-1].startswith("0 errors, 0 warnings, ")
    for found in ("images without an annotation: 2", "crowd regions", "categories without an"):
        assert any(line.startswith("  note: ") and found in line for line in lines)


def test_coco_s_boxes_without_height_are_warnings(
    check: Callable[..., Any], shared_data: Path, tmp_path: Path
) -> None:
    # train2017 as a whole holds two, which are not among these 50 images.
    entry = _coco(shared_data / "tiny_coco" / "coco", "train")
    content = json.loads(Path(entry["JSON"]).read_text())
    content["annotations"][7]["bbox"][3] = 0
    number = content["annotations"][7]["id"]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    entry["JSON"] = str(path)
    status, lines = check([entry], 80)
    assert status == 0
    (warning,) = (line for line in lines if line.startswith("  warning: ") and "width" in line)
    assert f"annotation {number}" in warning
    assert check([entry], 80, "--strict")[0] == 1


def _write_voc(folder: Path, cells: Path) -> None:
    """The test photographs of the blood cells as a VOC split; the last object is difficult."""
    content = json.loads((cells / "test.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (folder / "JPEGImages").symlink_to(cells / "images")
    stems = [Path(image["file_name"]).stem for image in content["images"]]
    (folder / "ImageSets/Main/test.txt").write_text("".join(f"{stem}\n" for stem in stems))
    last = content["annotations"][-1]["id"]
    for image, stem in zip(content["images"], stems, strict=True):
        objects = ""
        for entry in content["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, width, height = (int(value) for value in entry["bbox"])
                objects += (
                    f"<object><name>{names[entry['category_id']]}</name><pose>Left</pose>"
                    f"<truncated>0</truncated><difficult>{int(entry['id'] == last)}</difficult>"
                    f"<bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
                    f"<xmax>{x + width}</xmax><ymax>{y + height}</ymax></bndbox></object>"
                )
        size = f"<width>{image['width']}</width><height>{image['height']}</height><depth>3</depth>"
        xml = f"<annotation><size>{size}</size>{objects}</annotation>"
        (folder / "Annotations" / f"{stem}.xml").write_text(xml)


def test_a_voc_layout_passes(check: Callable[..., Any], shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    _write_voc(folder, shared_data / "bccd")
    entry = {
        "NAME": "cells", "FORMAT": "voc", "DIR": str(folder), "SPLIT": "test", "CLASSES": CELLS
    }  # fmt: skip
    status, lines = check([entry], 3, "--strict")
    assert lines[-1].startswith("0 errors, 0 warnings, "), lines
    assert status == 0
    assert "cells: 72 images, 945 objects" in lines
    assert any("difficult objects" in line and ": 1 " in line for line in lines)

    (path, *_) = sorted((folder / "Annotations").iterdir())
    xml = path.read_text().replace("<xmax>", "<xmax>9", 1)  # leaves the image
    path.write_text(xml)
    status, lines = check([entry], 3)
    assert status == 0
    assert any(line.startswith("  warning: ") and "leave their image" in line for line in lines)
    assert check([entry], 3, "--strict")[0] == 1
