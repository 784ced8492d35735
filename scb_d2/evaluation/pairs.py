"""Overlapping pairs of detections and objects: of all images at once, no loop over images.

Naming convention: G objects, D detections, P pairs of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth

from .ordering import ranges, rank_in_group, sorted_by_score, stable_order

__all__ = ["Pairs", "find_pairs"]

Array = NDArray[Any]

_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Pairs:
    """Overlapping pairs of a detection and an object, by detection.

    Attributes:
        order: (D',) detections considered, by image, class and falling score.
        rank: (D',) place of each within its image and class, from 0.
        detection: (P,) index into `order`, ascending.
        target: (P,) index of the object; ascending within a detection.
        iou: (P,) float64.
    """

    order: Array
    rank: Array
    detection: Array
    target: Array
    iou: Array

    def first(self, max_detections: int) -> Pairs:
        """Those of the first detections of every image and class."""
        kept = self.rank < max_detections
        if kept.all():
            return self
        rows = kept[self.detection]
        return Pairs(
            order=self.order[kept],
            rank=self.rank[kept],
            detection=(np.cumsum(kept) - 1)[self.detection[rows]],
            target=self.target[rows],
            iou=self.iou[rows],
        )


def find_pairs(
    ground_truth: GroundTruth,
    detections: Detections,
    min_iou: float,
    *,
    max_detections: int | None = None,
    per_class: bool = True,
) -> Pairs:
    """Pairs of detection and object of the same image (and class) with IoU of at least `min_iou`.

    Args:
        ground_truth: G objects.
        detections: D detections.
        min_iou: lowest IoU kept, > 0; with a crowd, intersection over the detection's area.
        max_detections: most detections per image and class (per image without classes), by score.
        per_class: whether the classes must agree.
    """
    num_classes = ground_truth.num_classes if per_class else 0
    groups = [detections.category, detections.image] if per_class else [detections.image]
    order = sorted_by_score(detections.score_rank, *groups)
    key = _group_key(detections, num_classes).take(order)
    rank = rank_in_group(key)
    if max_detections is not None:
        kept = rank < max_detections
        order, rank, key = order[kept], rank[kept], key[kept]

    target_key = _group_key(ground_truth, num_classes)
    target_order = stable_order(target_key)
    groups, first, targets = np.unique(
        target_key.take(target_order), return_index=True, return_counts=True
    )
    start, end = (np.searchsorted(key, groups, side=side) for side in ("left", "right"))
    rows = ranges(start, end - start)
    first, targets = (np.repeat(values, end - start) for values in (first, targets))

    found = []
    limits = np.searchsorted(
        np.cumsum(targets), np.arange(_PAIRS_AT_ONCE, targets.sum(), _PAIRS_AT_ONCE)
    )
    for part in np.split(np.arange(len(rows)), np.unique(limits)):
        detection = np.repeat(rows[part], targets[part])
        target = target_order.take(ranges(first[part], targets[part]))
        iou = _iou(
            detections.boxes.take(order.take(detection), 0).T,
            ground_truth.boxes.take(target, 0).T,
            ground_truth.crowd.take(target),
        )
        kept = np.flatnonzero(iou >= min_iou)
        found.append((detection.take(kept), target.take(kept), iou.take(kept)))
    detection, target, iou = (np.concatenate(column) for column in zip(*found, strict=True))
    return Pairs(order=order, rank=rank, detection=detection, target=target, iou=iou)


def _group_key(items: Detections | GroundTruth, num_classes: int) -> Array:
    """One integer per image and class, or per image where `num_classes` is 0."""
    return items.image * num_classes + items.category if num_classes else items.image


def _iou(detection: Array, target: Array, crowd: Array) -> Array:
    """IoU of columns x, y, width, height, in the order of operations of pycocotools' `bbIou`."""
    (x, y, width, height), (left, top, across, down) = detection, target
    overlap_width = np.minimum(width + x, across + left) - np.maximum(x, left)
    overlap_height = np.minimum(height + y, down + top) - np.maximum(y, top)
    overlap = np.where(
        (overlap_width > 0) & (overlap_height > 0), overlap_width * overlap_height, 0.0
    )
    area = width * height
    union = np.where(crowd, area, area + across * down - overlap)
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)
