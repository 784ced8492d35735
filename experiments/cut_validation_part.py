"""Cut a validation part from a training part, for choices such as the learning rate.

    python -m experiments.cut_validation_part ANNOTATIONS.json --output DIR [--groups REGEX]

writes `fit.json` and `validation.json`, which share the images of ANNOTATIONS.json.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["cut", "main"]


def cut(
    data: dict[str, Any], share: float, groups: str = r".*", seed: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two parts of a COCO data set without a common group of images.

    Args:
        data: COCO annotations.
        share: of the images that the second part holds, at least, in (0, 1).
        groups: the first match in a file's name names its group; whole groups go to one part.
        seed: of the order in which groups are taken.
    """
    names = sorted({_group(image, groups) for image in data["images"]})
    random.Random(seed).shuffle(names)
    size = dict.fromkeys(names, 0)
    for image in data["images"]:
        size[_group(image, groups)] += 1
    taken: set[str] = set()
    for name in names:
        if sum(size[other] for other in taken) >= share * len(data["images"]):
            break
        taken.add(name)
    second = {image["id"] for image in data["images"] if _group(image, groups) in taken}
    everything = {image["id"] for image in data["images"]}
    return _part(data, everything - second), _part(data, second)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path, metavar="ANNOTATIONS.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument(
        "--groups", default=r".*", metavar="REGEX", help="what names a file's group (its name)"
    )
    args = parser.parse_args(argv)
    data = json.loads(args.annotations.read_text("utf-8"))
    args.output.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("fit", "validation"), cut(data, args.share, args.groups), strict=True):
        (args.output / f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
        print(f"{name}: {len(part['images'])} images, {len(part['annotations'])} objects")


def _group(image: dict[str, Any], pattern: str) -> str:
    found = re.search(pattern, image["file_name"])
    return found[0] if found else image["file_name"]


def _part(data: dict[str, Any], ids: set[int]) -> dict[str, Any]:
    return data | {
        "images": [image for image in data["images"] if image["id"] in ids],
        "annotations": [row for row in data["annotations"] if row["image_id"] in ids],
    }


if __name__ == "__main__":
    main()
