"""Bring data sets that Python code registered, in Detectron2's format, into canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from .records import READING_RULES, Records
from .segmentations import mask_area, usable_segmentation
from .tally import Tally
from .values import box_of, flag, number

__all__ = ["canonical_records"]

_CORNERS = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def canonical_records(
    name: str, dicts: Sequence[dict[str, Any]], class_names: Sequence[str] | None
) -> Records:
    """Canonical twins of the dicts of a registered data set; fields of its own are kept.

    Args:
        name: the registered name.
        dicts: what its function returns; not changed.
        class_names: K names; None where none are registered.
    """
    subject = f"The data set {name!r}"
    tally = Tally(subject, READING_RULES)
    found = [a.get("category_id") for d in dicts for a in d.get("annotations") or ()]
    classes = list(class_names) if class_names is not None else _numbered(found)
    images, count = [], 0
    for index, original in enumerate(dicts):
        image = {**original}
        image.setdefault("image_id", index)
        images.append(image)
        if original.get("annotations") is None:
            image.pop("annotations", None)
            continue
        image["annotations"] = []
        for annotation in original["annotations"]:
            count += 1
            example = f"annotation {annotation.get('id', count)!r} of image {image['image_id']!r}"
            canonical = _annotation(annotation, len(classes), example, tally)
            if canonical is not None:
                image["annotations"].append({"id": count, **canonical})
    return Records(
        subject=subject,
        class_names=classes,
        category_ids=list(range(len(classes))),
        images=images,
        tally=tally,
        has_annotations=any("annotations" in image for image in images),
    )


def _numbered(category_ids: list[Any]) -> list[str]:
    known = [n for n in category_ids if isinstance(n, int)]
    return [f"class {n}" for n in range(max(known, default=-1) + 1)]


def _annotation(
    annotation: dict[str, Any], num_classes: int, example: str, tally: Tally
) -> dict[str, Any] | None:
    category, box = annotation.get("category_id"), annotation.get("bbox")
    if category is None or box is None:
        tally.add("incomplete-annotation", example)
        return None
    if isinstance(category, np.integer):
        category = int(category)
    if type(category) is not int or not 0 <= category < num_classes:
        tally.add("unknown-category", f"{example} with category_id {category!r}")
        return None
    shown = f"{example} with bbox {box!r}"
    crowd = flag(annotation.get("iscrowd", 0))
    if crowd is None:
        tally.add("malformed-crowd", f"{example} with iscrowd {annotation['iscrowd']!r}")
        return None
    mode = annotation.get("bbox_mode")
    mode = mode if mode is None else BoxMode(mode)
    box = _plain_box(box, mode)
    if box is None:
        tally.add("malformed-box", shown)
        return None
    if box[2] < 0 or box[3] < 0:
        tally.add("negative-box", shown)
        return None
    canonical = {**annotation, "category_id": category, "iscrowd": crowd, "bbox": box}
    canonical["bbox_mode"] = mode if len(box) == 5 else BoxMode.XYWH_ABS
    _keep_mask(canonical, example, tally)
    area = number(annotation.get("area"))
    if not area or area < 0:
        mask = canonical.get("segmentation")
        area = mask_area(mask) if isinstance(mask, list | dict) else box[2] * box[3]
    canonical["area"] = area
    return canonical


def _plain_box(box: Any, mode: BoxMode | None) -> list[float] | None:
    """x, y, width, height; a rotated box keeps its centre, sides and angle."""
    sides = box.tolist() if hasattr(box, "tolist") else list(box)
    if mode == BoxMode.XYWHA_ABS:
        numbers = [number(side) for side in sides]
        return numbers if len(numbers) == 5 and None not in numbers else None
    sides = box_of(sides)
    if sides is None or mode not in _CORNERS:
        return None
    if mode == BoxMode.XYXY_ABS:
        x1, y1, x2, y2 = sides
        return [x1, y1, x2 - x1, y2 - y1]
    return sides


def _keep_mask(canonical: dict[str, Any], example: str, tally: Tally) -> None:
    """Set a segmentation aside that is none; arrays are left to the mapper that knows them."""
    mask = canonical.get("segmentation")
    if isinstance(mask, list):
        mask = [p.ravel().tolist() if isinstance(p, np.ndarray) else p for p in mask]
    if isinstance(mask, np.ndarray):
        return
    if "segmentation" in canonical:
        usable = usable_segmentation(mask)
        if usable is None:
            tally.add("unusable-mask", example)
            del canonical["segmentation"]
        else:
            canonical["segmentation"] = usable
