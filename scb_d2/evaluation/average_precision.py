"""COCO's AP and AR, for any weights of the images: one matching, many resamples.

The numbers are those of `COCOeval.evaluate()` and `accumulate()` (101 recall points, IoU 0.5 to
0.95, 100 detections per image and class). An image of weight w counts as w copies of it: weights of
1 are the point value, multinomial weights a bootstrap resample.

Naming convention: A area ranges, T IoU thresholds, K classes, S true positives over all A and T;
candidates are the detections that overlap an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.utils.size_groups import SIZE_NAMES

from .detection_matching import find_pairs, greedy_match
from .size_bins import SizeBins

__all__ = ["IOU_THRESHOLDS", "PrecisionTable", "size_suffixes"]

Array = NDArray[Any]

# As in COCO's Params: the digits matter where a recall meets a threshold exactly.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_POINTS = np.linspace(0.0, 1.0, 101)
_MAX_DETECTIONS = (1, 10, 100)


@dataclass(frozen=True)
class PrecisionTable:
    """Matches of one run on one data set, arranged for weighted accumulation.

    Build with :meth:`from_detections`. Detections stand by class, then falling score.

    Attributes:
        bin_names: names of the size bins; area range 0 is all sizes, then the bins.
        shape: A, T, K.
        num_images: N.
        object_image, object_class: of the objects that count in a range; the class is a * K + k.
        shown_image: images of the candidates that are not ignored, by range, IoU, class and score.
        rest_image: images of the other detections that count, all false positives, by range.
        tp_image, tp_rank: (S,) image of every true positive, by range, IoU, class and score, and
            its place among the detections of its image and class.
        tp_segment: (S,) its range, IoU and class as one number.
        tp_first: (S,) the first true positive of its segment.
        tp_shown, tp_shown_start: (S,) how many entries of `shown_image` lie up to it, and before
            its class.
        tp_rest, tp_rest_start: (S,) the same for `rest_image`.
    """

    bin_names: tuple[str, ...]
    shape: tuple[int, int, int]
    num_images: int
    object_image: Array
    object_class: Array
    shown_image: Array
    rest_image: Array
    tp_image: Array
    tp_rank: Array
    tp_segment: Array
    tp_first: Array
    tp_shown: Array
    tp_shown_start: Array
    tp_rest: Array
    tp_rest_start: Array

    @classmethod
    def from_detections(
        cls,
        ground_truth: GroundTruth,
        detections: Detections,
        *,
        bins: SizeBins | None = None,
        areas: Array | None = None,
        area_scales: Array | None = None,
    ) -> PrecisionTable:
        """Match once for all IoU thresholds and sizes.

        Args:
            ground_truth: G objects of N images.
            detections: D detections.
            bins: size bins; COCO's by default. As in COCO's code, an object on a limit counts on
                both sides of it here.
            areas: (G,) areas of the objects; the annotation's by default.
            area_scales: (N,) factor on the area of a detection's box where `areas` are not in
                native pixels: an unmatched box counts only in the range it lies in.
        """
        bins = bins or SizeBins()
        ranges = bins.coco_ranges()
        areas = ground_truth.area if areas is None else areas
        inside = (areas >= ranges[:, :1]) & (areas <= ranges[:, 1:])
        ignored = ground_truth.ignored | ~inside
        pairs = find_pairs(
            ground_truth, detections, IOU_THRESHOLDS[0], max_detections=_MAX_DETECTIONS[-1]
        )
        matched = greedy_match(pairs, IOU_THRESHOLDS, ignored, ground_truth.ignored)

        # COCO sorts the detections of a class by score, ties by image and place in it.
        category = detections.category[pairs.order]
        place = np.lexsort((-detections.scores[pairs.order], category))
        category, matched = category[place], matched[:, :, place]
        image = detections.image[pairs.order][place]
        box_area = detections.area[pairs.order][place]
        if area_scales is not None:
            box_area = box_area * area_scales[image]
        in_range = (box_area >= ranges[:, :1]) & (box_area <= ranges[:, 1:])

        candidate = (matched >= 0).any((0, 1))
        columns = np.flatnonzero(candidate)
        matched = matched[:, :, columns]
        hit = matched >= 0
        real = np.stack([~row[m] for row, m in zip(ignored, matched, strict=True)])
        true_positive = hit & real if len(columns) else hit
        counted = true_positive | (~hit & in_range[:, None, columns])

        shape = (len(ranges), len(IOU_THRESHOLDS), ground_truth.num_classes)
        area, iou, tp = np.nonzero(true_positive)
        tp_class = category[columns][tp]
        row = area * shape[1] + iou
        segment = row * shape[2] + tp_class
        class_start = np.searchsorted(category[columns], np.arange(shape[2]))

        shown_before = np.concatenate([[0], np.cumsum(counted)])
        rest = ~candidate & in_range
        rest_before = np.concatenate([[0], np.cumsum(rest)])
        rest_row = area * len(category)
        object_area, object_index = np.nonzero(~ignored)
        return cls(
            bin_names=bins.names,
            shape=shape,
            num_images=ground_truth.num_images,
            object_image=ground_truth.image[object_index],
            object_class=object_area * shape[2] + ground_truth.category[object_index],
            shown_image=np.broadcast_to(image[columns], counted.shape)[counted],
            rest_image=np.broadcast_to(image, rest.shape)[rest],
            tp_image=image[columns][tp],
            tp_rank=pairs.rank[place][columns][tp],
            tp_segment=segment,
            tp_first=np.searchsorted(segment, segment),
            tp_shown=shown_before[row * len(columns) + tp + 1],
            tp_shown_start=shown_before[row * len(columns) + class_start[tp_class]],
            tp_rest=rest_before[rest_row + columns[tp]],
            tp_rest_start=rest_before[rest_row + np.searchsorted(category, tp_class)],
        )

    def metrics(self, image_weights: Array | None = None) -> dict[str, float]:
        """AP, AP50, AP75, AR1, AR10, AR100 and AP and AR of every size, in percent.

        Sizes are written as Detectron2 does (APs, APm, APl) for small, medium and large, else
        `AP-<bin>`. A size without objects is NaN.

        Args:
            image_weights: (N,) non-negative integers; 1 for all by default.
        """
        out = self.ap_metrics(image_weights)
        present = self._objects(self._weights(image_weights)) > 0
        for limit in _MAX_DETECTIONS:
            recall = self.recall(limit, image_weights)
            out[f"AR{limit}"] = _mean(recall[0][:, present[0]])
        for area, suffix in enumerate(size_suffixes(self.bin_names), start=1):
            out[f"AR{suffix}"] = _mean(recall[area][:, present[area]])
        return out

    def ap_metrics(self, image_weights: Array | None = None) -> dict[str, float]:
        """Those of :meth:`metrics` that are AP."""
        precision, present = self.average_precision(image_weights)
        out = {
            "AP": _mean(precision[0][:, present[0]]),
            "AP50": _mean(precision[0, 0, present[0]]),
            "AP75": _mean(precision[0, 5, present[0]]),
        }
        for area, suffix in enumerate(size_suffixes(self.bin_names), start=1):
            out[f"AP{suffix}"] = _mean(precision[area][:, present[area]])
        return out

    def average_precision(self, image_weights: Array | None = None) -> tuple[Array, Array]:
        """AP per area range, IoU and class, as fractions.

        Args:
            image_weights: see :meth:`metrics`.

        Returns:
            precision: (A, T, K) float64; 0 for a class without objects.
            present: (A, K) bool, classes that have objects.
        """
        weight = self._weights(image_weights)
        objects = self._objects(weight)

        # Detections that count, from the start of the class to each true positive.
        shown = _sum_between(weight[self.shown_image], self.tp_shown_start, self.tp_shown)
        shown += _sum_between(weight[self.rest_image], self.tp_rest_start, self.tp_rest)
        place = np.arange(len(self.tp_image))
        right = _sum_between(weight[self.tp_image], self.tp_first, place + 1)
        per_range = self.shape[1] * self.shape[2]
        object_class = self.tp_segment // per_range * self.shape[2]
        object_class += self.tp_segment % self.shape[2]
        recall = right / np.maximum(objects.ravel()[object_class], 1)
        precision = right / np.maximum(shown, 1)

        # The envelope runs from the last true positive of a segment to its first.
        lift = 2.0 * (np.prod(self.shape) - self.tp_segment)
        envelope = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        points = _points_up_to(recall)
        points = points - np.where(place == self.tp_first, 0, np.roll(points, 1))
        return self._per_segment(envelope * points) / len(_RECALL_POINTS), objects > 0

    def recall(self, max_detections: int, image_weights: Array | None = None) -> Array:
        """(A, T, K) recall with the first `max_detections` per image and class, as fractions."""
        weight = self._weights(image_weights)
        found = self._per_segment(weight[self.tp_image] * (self.tp_rank < max_detections))
        return found / np.maximum(self._objects(weight), 1)[:, None]

    def _weights(self, image_weights: Array | None) -> Array:
        if image_weights is None:
            return np.ones(self.num_images, dtype=np.int32)
        return np.asarray(image_weights, dtype=np.int32)

    def _objects(self, weight: Array) -> Array:
        """(A, K) objects that count."""
        size = self.shape[0] * self.shape[2]
        count = np.bincount(self.object_class, weights=weight[self.object_image], minlength=size)
        return count.reshape(self.shape[0], self.shape[2])

    def _per_segment(self, values: Array) -> Array:
        """(A, T, K) sums over the true positives."""
        size = int(np.prod(self.shape))
        return np.bincount(self.tp_segment, weights=values, minlength=size).reshape(self.shape)


def size_suffixes(bin_names: Sequence[str]) -> list[str]:
    """Endings of the metric names of every size: Detectron2's s, m, l, else `-<bin>`."""
    return [name[0] if name in SIZE_NAMES else f"-{name}" for name in bin_names]


def _sum_between(values: Array, start: Array, end: Array) -> Array:
    """Sums of `values` from `start` to before `end`."""
    total = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=total[1:])
    return total[end] - total[start]


def _points_up_to(recall: Array) -> Array:
    """How many of the 101 recall points each recall reaches; exact, as rounding is not."""
    points = np.append(_RECALL_POINTS, np.inf)
    base = (recall * 100).astype(np.int64).clip(0, 100)
    return base + (points[base] <= recall) + (points[base + 1] <= recall)


def _mean(values: Array) -> float:
    return float(values.mean() * 100) if values.size else float("nan")
