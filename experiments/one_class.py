"""Make a data set of one class, where no gain can come from the balance of classes.

    python -m experiments.one_class ANNOTATIONS.json [ANNOTATIONS.json ...] --output DIR

writes files of the same names into DIR; they share the images of the originals.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main", "merged"]


def merged(data: dict[str, Any], name: str = "object") -> dict[str, Any]:
    """COCO annotations with every object in one category.

    Args:
        data: COCO annotations; not changed.
        name: of the category, whose id is 1.
    """
    return data | {
        "categories": [{"id": 1, "name": name}],
        "annotations": [row | {"category_id": 1} for row in data["annotations"]],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path, nargs="+", metavar="ANNOTATIONS.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    for path in args.annotations:
        data = merged(json.loads(path.read_text("utf-8")))
        (args.output / path.name).write_text(json.dumps(data), encoding="utf-8")
        print(f"{path.name}: {len(data['images'])} images, {len(data['annotations'])} objects")


if __name__ == "__main__":
    main()
