"""The matches of a run by size, IoU threshold, class and falling score, ready to be counted.

Naming convention: A area ranges, T IoU thresholds, K classes, N images, D' detections, P pairs of
one and an object, S true positives over all A and T, Q segments: the triples of A, T and K that
have any, U steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth

from .detection_matching import greedy_match
from .ordering import sorted_by_score, stable_order
from .pairs import Pairs, find_pairs

__all__ = ["IOU_THRESHOLDS", "MAX_DETECTIONS", "RankedMatches"]

Array = NDArray[Any]

# As in COCO's Params: the digits matter where a recall meets a threshold exactly.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = (1, 10, 100)


@dataclass(frozen=True)
class RankedMatches:
    """What a run's precision is counted from, under any weights of the images.

    A detection that no object takes counts in the ranges that hold its own area, whatever the
    threshold. `steps` counts all detections so. Those that an object takes may count otherwise:
    `change_image` says where.

    Attributes:
        shape: A, T, K.
        objects: (A * K, N) how many objects count, by range and class.
        steps: (U, N) the detections of a class whose own area lies in a range, from one that is a
            true positive at any threshold to the next, by range, class and score.
        first_step: (A * K,) where a range and class begins in `steps`.
        change_image: images of the detections that count although their own area does not lie in
            the range; those that do not although it does have N more. By range, threshold, class
            and score.
        segment: (Q,) range, threshold and class as one number.
        segment_class: (Q,) its range and class as one number.
        segment_start: (Q,) its first true positive.
        segment_change: (Q,) how many entries of `change_image` lie before its class.
        tp_image, tp_rank: (S,) image of every true positive, by segment and score, and its place
            among the detections of its image and class.
        tp_step, tp_change: (S,) how many rows of `steps` and entries of `change_image` lie up to
            it.
    """

    shape: tuple[int, int, int]
    objects: csr_array
    steps: csr_array
    first_step: Array
    change_image: Array
    segment: Array
    segment_class: Array
    segment_start: Array
    segment_change: Array
    tp_image: Array
    tp_rank: Array
    tp_step: Array
    tp_change: Array

    @classmethod
    def from_detections(
        cls,
        ground_truth: GroundTruth,
        detections: Detections,
        ranges: Array,
        areas: Array | None = None,
        area_scales: Array | None = None,
        pairs: Pairs | None = None,
    ) -> RankedMatches:
        """Match once for all thresholds and ranges.

        Args:
            ground_truth: G objects of N images.
            detections: D detections.
            ranges: (A, 2) of areas, closed at both ends.
            areas: (G,) areas of the objects; the annotation's by default.
            area_scales: (N,) factor on the area of a detection's box where `areas` are not in
                native pixels.
            pairs: all within a class from IoU 0.5 on; found where they are not given.
        """
        areas = ground_truth.area if areas is None else areas
        ignored = ground_truth.ignored | ~_within(areas, ranges)
        if pairs is None:
            pairs = find_pairs(ground_truth, detections, IOU_THRESHOLDS[0])
        pairs = pairs.first(MAX_DETECTIONS[-1])
        taken = greedy_match(pairs, IOU_THRESHOLDS, ignored, ground_truth.ignored)

        # COCO sorts the detections of a class by score, ties by image and place in it.
        score_rank = detections.score_rank.take(pairs.order)
        place = sorted_by_score(score_rank, detections.category.take(pairs.order))
        shown = pairs.order.take(place)
        image, category = detections.image.take(shown), detections.category.take(shown)
        box_area = detections.area.take(shown)
        if area_scales is not None:
            box_area = box_area * area_scales[image]
        in_range = _within(box_area, ranges)
        column = np.empty_like(place)
        column[place] = np.arange(len(place))
        column = column.take(pairs.detection)
        by_score = stable_order(column)
        column, taken = column.take(by_score), taken.take(by_score, 2)  # (P,), (A, T, P)

        real = ~ignored.take(pairs.target.take(by_score), 1)
        right = taken & real[:, None]
        # Right or not in its own range, or neither: false where something ignored is taken.
        change = taken & (real != in_range.take(column, 1))[:, None]
        step = right.any(axis=1)

        num_areas, num_thresholds, num_columns = taken.shape
        num_classes, num_images = ground_truth.num_classes, ground_truth.num_images
        classes, images = category.take(column), image.take(column)
        class_start = np.searchsorted(classes, np.arange(num_classes))
        steps_before = np.append(0, np.cumsum(step))
        cell, changed = np.flatnonzero(right), np.flatnonzero(change)
        row, at = np.divmod(cell, num_columns)  # row: range and threshold as one number
        tp_class, area = classes.take(at), row // num_thresholds
        segment = row * num_classes + tp_class
        start = np.flatnonzero(np.diff(segment, prepend=-1))
        first_cell = row[start] * num_columns + class_start[tp_class[start]]
        area_start = np.arange(num_areas)[:, None] * num_columns
        less = ~right.ravel().take(changed)
        return cls(
            shape=(num_areas, num_thresholds, num_classes),
            objects=_objects(ground_truth, ignored),
            steps=_steps(step, column, in_range, image, category, num_images),
            first_step=steps_before[(area_start + class_start).ravel()],
            change_image=images.take(changed % num_columns) + num_images * less,
            segment=segment[start],
            segment_class=area[start] * num_classes + tp_class[start],
            segment_start=start,
            segment_change=np.searchsorted(changed, first_cell),
            tp_image=images.take(at),
            tp_rank=pairs.rank.take(pairs.detection).take(by_score).take(at),
            tp_step=steps_before.take(area * num_columns + at + 1),
            tp_change=np.searchsorted(changed, cell, side="right"),
        )

    @property
    def num_images(self) -> int:
        """N."""
        return self.objects.shape[1]

    @property
    def tp_segment(self) -> Array:
        """(S,) segment of every true positive, as one number."""
        return np.repeat(self.segment, np.diff(self.segment_start, append=len(self.tp_image)))

    def chunks(self, size: int) -> Iterator[tuple[slice, slice]]:
        """Segments and their true positives, some `size` of the latter at once."""
        ends = np.append(self.segment_start[1:], len(self.tp_image))
        first = 0
        while first < len(self.segment):
            begin = int(self.segment_start[first])
            last = max(first + 1, int(np.searchsorted(ends, begin + size, side="right")))
            yield slice(first, last), slice(begin, int(ends[last - 1]))
            first = last


def _within(areas: Array, ranges: Array) -> Array:
    """(A, n) bool: which areas lie in which range."""
    return (areas >= ranges[:, :1]) & (areas <= ranges[:, 1:])


def _objects(ground_truth: GroundTruth, ignored: Array) -> csr_array:
    num_classes = ground_truth.num_classes
    area, index = np.nonzero(~ignored)
    rows = area * num_classes + ground_truth.category[index]
    shape = (len(ignored) * num_classes, ground_truth.num_images)
    ones = np.ones(len(rows), dtype=np.int32)
    return csr_array((ones, (rows, ground_truth.image[index])), shape=shape)


def _steps(
    step: Array, column: Array, in_range: Array, image: Array, category: Array, num_images: int
) -> csr_array:
    """Detections between true positives; see :class:`RankedMatches`.

    Args:
        step: (A, P) bool, the true positives at any threshold.
        column: (P,) the places of their detections among all, ascending.
        in_range: (A, D') bool, the ranges that hold the detections' own areas.
        image: (D',) of the detections.
        category: (D',) likewise.
        num_images: N.
    """
    images, lengths = [], []
    for ends_here, counts in zip(step, in_range, strict=True):
        ends = column[ends_here]
        shown = np.flatnonzero(counts)
        before = np.cumsum(np.bincount(ends + 1, minlength=len(image) + 1))
        row = before.take(shown)
        # Behind the last true positive of its class a detection counts for nothing.
        kept = np.append(category.take(ends), -1).take(row) == category.take(shown)
        row, shown = row[kept], shown[kept]
        images.append(image.take(shown))
        lengths.append(np.bincount(row, minlength=len(ends)))
    indices = np.concatenate(images).astype(np.int32)
    starts = np.r_[0, np.cumsum(np.concatenate(lengths))].astype(np.int32)
    data = np.ones(len(indices), dtype=np.int32)
    return csr_array((data, indices, starts), shape=(len(starts) - 1, num_images))
