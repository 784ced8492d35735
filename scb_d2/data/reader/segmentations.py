"""Masks and keypoints of annotations: which are usable, and how large a mask is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pycocotools import mask as mask_util

from .values import is_number

__all__ = ["mask_area", "shifted_keypoints", "usable_segmentation"]

Segmentation = list[list[float]] | dict[str, Any]


def usable_segmentation(value: Any) -> Segmentation | None:
    """The part of a segmentation that Detectron2 can use.

    Returns:
        Polygons of at least three points each, or a compressed RLE as text; None where nothing is
        left.
    """
    if isinstance(value, dict):
        return _compressed(value)
    if not isinstance(value, list):
        return None
    polygons = [polygon for polygon in value if _is_polygon(polygon)]
    return polygons or None


def _is_polygon(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        return False
    try:
        # The sum is finite where every coordinate is; far faster than a look at each.
        return math.isfinite(sum(value))
    except (TypeError, OverflowError):
        return False


def _compressed(rle: dict[str, Any]) -> dict[str, Any] | None:
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    try:
        if isinstance(counts, list):
            counts = mask_util.frPyObjects(rle, *size)["counts"]
        if isinstance(counts, bytes):  # as pycocotools makes them, and no JSON holds them
            rle = {"size": size, "counts": counts.decode("ascii")}
    except (TypeError, ValueError, OverflowError):
        return None
    return rle if counts and isinstance(counts, str | bytes) else None


def mask_area(segmentation: Segmentation) -> float:
    """Square pixels of a usable segmentation; overlapping polygons count as often as they do."""
    if isinstance(segmentation, dict):
        return float(mask_util.area(segmentation))
    area = 0.0
    for polygon in segmentation:
        x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
        area += 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))
    return area


def shifted_keypoints(value: Any) -> list[float] | None:
    """Keypoints with half a pixel added to x and y, as Detectron2 takes COCO's pixel indices.

    None where ``value`` is no list of triples.
    """
    if not isinstance(value, list) or len(value) % 3 or not all(map(is_number, value)):
        return None
    return [v if n % 3 == 2 else v + 0.5 for n, v in enumerate(value)]
