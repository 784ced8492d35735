"""Make the embedded photographs from the whole data set, which the package does not hold.

    python -m experiments.prepare_bccd BCCD_Dataset --output datasets/bccd
    python -m scb_d2.data.blood_cells.make datasets/bccd

Draws photographs of each part without replacement, halves them to 320 x 240 pixels, and their
boxes and areas with them. The test photographs come from the data set's own test part.
"""

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["main", "make_part"]

_PARTS = {"train": ("trainval", 100), "test": ("test", 36)}
_SEED = 0
_SIZE = (320, 240)
_QUALITY = 85


def make_part(source: Path, output: Path, part: str, seed: int = _SEED) -> dict[str, Any]:
    """Draw one part, write its photographs and return its annotations.

    Args:
        source: folder of ``trainval.json``, ``test.json`` and ``images``, COCO detection.
        output: folder whose ``images`` the photographs are written into.
        part: "train" or "test".
        seed: of the drawing.

    Returns:
        COCO detection.
    """
    split, count = _PARTS[part]
    whole = json.loads((source / f"{split}.json").read_text(encoding="utf-8"))
    photographs = sorted(whole["images"], key=lambda x: x["file_name"])
    chosen = random.Random(seed).sample(photographs, count)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(sorted(chosen, key=lambda x: x["file_name"]), start=1):
        with Image.open(source / "images" / record["file_name"]) as photograph:
            small = photograph.convert("RGB").resize(_SIZE, Image.Resampling.LANCZOS)
        small.save(output / "images" / record["file_name"], quality=_QUALITY, optimize=True)
        images.append(
            {
                "id": number,
                "file_name": record["file_name"],
                "width": _SIZE[0],
                "height": _SIZE[1],
            }
        )
        scale = (_SIZE[0] / record["width"], _SIZE[1] / record["height"]) * 2
        for thing in whole["annotations"]:
            if thing["image_id"] == record["id"]:
                box = [a * b for a, b in zip(thing["bbox"], scale, strict=True)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": thing["category_id"],
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
    return {"images": images, "annotations": annotations, "categories": whole["categories"]}


def main() -> None:
    """Make both parts beside this file."""
    parser = argparse.ArgumentParser(prog="python -m scb_d2.data.blood_cells.make")
    parser.add_argument("source", type=Path, help="what experiments.prepare_bccd wrote")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    shutil.rmtree(args.output / "images", ignore_errors=True)
    (args.output / "images").mkdir(parents=True)
    for part in _PARTS:
        text = json.dumps(make_part(args.source, args.output, part), separators=(",", ":"))
        (args.output / f"{part}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
