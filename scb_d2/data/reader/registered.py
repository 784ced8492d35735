"""Bring data sets that Python code registered, in Detectron2's format, into canonical form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from scb_d2.errors import DataError

from .records import READING_RULES, Records
from .segmentations import mask_area, usable_segmentation
from .tally import Tally
from .values import box_of, flag, number

__all__ = ["canonical_records"]

_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)


def canonical_records(
    name: str, dicts: Sequence[dict[str, Any]], class_names: Sequence[str] | None
) -> Records:
    """Canonical twins of the dicts of a registered data set; fields of its own are kept.

    Args:
        name: the registered name.
        dicts: what its function returns; not changed.
        class_names: K names; None where none are registered.

    Raises:
        DataError: if a record or an annotation is no dict.
    """
    subject = f"The data set {name!r}"
    _check_dicts(dicts, subject)
    tally = Tally(subject, READING_RULES)
    found = [a.get("category_id") for d in dicts for a in d.get("annotations") or ()]
    classes = list(class_names) if class_names is not None else _numbered(found)
    images, count = [], 0
    for index, original in enumerate(dicts):
        image = {key: _plain(value) for key, value in original.items()}
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


def _check_dicts(dicts: Sequence[Any], subject: str) -> None:
    for place, record in enumerate(dicts):
        annotations = record.get("annotations") if isinstance(record, dict) else record
        is_list = annotations is None or isinstance(annotations, list | tuple)
        if not is_list or not all(isinstance(a, dict) for a in annotations or ()):
            raise DataError(
                f"{subject} must hold dicts in Detectron2's format, with a list of dicts as "
                f"annotations; what is at place {place} is none."
            )


def _plain(value: Any) -> Any:
    """What JSON would hold in place of a number of NumPy's, or of a path."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _numbered(category_ids: list[Any]) -> list[str]:
    known = [int(n) for n in category_ids if isinstance(n, int | np.integer)]
    return [f"class {n}" for n in range(max(known, default=-1) + 1)]


def _annotation(
    annotation: dict[str, Any], num_classes: int, example: str, tally: Tally
) -> dict[str, Any] | None:
    annotation = {key: _plain(value) for key, value in annotation.items()}
    category, box = annotation.get("category_id"), annotation.get("bbox")
    if category is None or box is None:
        tally.add("incomplete-annotation", example)
        return None
    if type(category) is not int or not 0 <= category < num_classes:
        tally.add("unknown-category", f"{example} with category_id {category!r}")
        return None
    crowd = flag(annotation.get("iscrowd", 0))
    if crowd is None:
        tally.add("malformed-crowd", f"{example} with iscrowd {annotation['iscrowd']!r}")
        return None
    mode = annotation.get("bbox_mode")
    if mode not in _MODES:
        tally.add("unknown-box-mode", f"{example} with bbox_mode {mode!r}")
        return None
    shown = f"{example} with bbox {box!r}"
    box = _plain_box(box, BoxMode(mode))
    if box is None:
        tally.add("malformed-box", shown)
        return None
    if box[2] < 0 or box[3] < 0:
        tally.add("negative-box", shown)
        return None
    canonical = {**annotation, "category_id": category, "iscrowd": crowd, "bbox": box}
    canonical["bbox_mode"] = BoxMode.XYWHA_ABS if len(box) == 5 else BoxMode.XYWH_ABS
    _keep_mask(canonical, example, tally)
    area = number(annotation.get("area"))
    if not area or area < 0:
        mask = canonical.get("segmentation")
        area = mask_area(mask) if isinstance(mask, list | dict) else box[2] * box[3]
    canonical["area"] = area
    return canonical


def _plain_box(box: Any, mode: BoxMode) -> list[float] | None:
    """x, y, width, height; a rotated box keeps its centre, sides and angle."""
    sides = box.tolist() if hasattr(box, "tolist") else box
    if not isinstance(sides, list | tuple):
        return None
    sides = [_plain(side) for side in sides]
    if mode == BoxMode.XYWHA_ABS:
        numbers = [number(side) for side in sides]
        return numbers if len(numbers) == 5 and None not in numbers else None
    sides = box_of(sides)
    if sides is None:
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
