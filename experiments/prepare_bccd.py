"""Make datasets/bccd from a clone of Shenggan/BCCD_Dataset (MIT).

    git clone https://github.com/Shenggan/BCCD_Dataset
    python -m experiments.prepare_bccd BCCD_Dataset --output datasets/bccd

Writes trainval.json and test.json, COCO detection, and copies of the photographs. Boxes
are [xmin, ymin, xmax - xmin, ymax - ymin] as annotated; boxes without area are dropped.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from scb_d2.data.reader.voc import read_voc_xml, voc_image_ids

__all__ = ["coco_of", "main"]

_CLASSES = ("RBC", "WBC", "Platelets")


def coco_of(folder: Path, split: str) -> dict[str, Any]:
    """A split of the VOC folder `BCCD` as COCO detection."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, name in enumerate(voc_image_ids(folder, split), start=1):
        voc = read_voc_xml(folder / "Annotations" / f"{name}.xml")
        size = {"width": voc.width, "height": voc.height}
        images.append({"id": number, "file_name": f"{name}.jpg", **size})
        for thing in voc.objects:
            left, top, right, bottom = thing.box
            width, height = right - left, bottom - top
            if width > 0 and height > 0:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": _CLASSES.index(thing.name) + 1,
                        "bbox": [left, top, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": k, "name": name} for k, name in enumerate(_CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def main() -> None:
    """Convert both splits and copy the photographs."""
    parser = argparse.ArgumentParser(prog="python -m experiments.prepare_bccd")
    parser.add_argument("clone", type=Path, help="of github.com/Shenggan/BCCD_Dataset")
    parser.add_argument("--output", type=Path, default=Path("datasets/bccd"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for split in ("trainval", "test"):
        text = json.dumps(coco_of(args.clone / "BCCD", split))
        (args.output / f"{split}.json").write_text(text, encoding="utf-8")
    images = args.clone / "BCCD" / "JPEGImages"
    shutil.copytree(images, args.output / "images", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
