"""COCO's AP and AR, for any weights of the images: one matching, many resamples.

The numbers are those of `COCOeval.evaluate()` and `accumulate()` (101 recall points, IoU 0.5 to
0.95, 100 detections per image and class). An image of weight w counts as w copies of it: weights of
1 are the point value, multinomial weights a bootstrap resample.

Naming convention: A area ranges, T IoU thresholds, K classes, C candidates (detections that overlap
an object), S true positives over all A and T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sizes import SIZE_NAMES
from .coco_format import Detections, GroundTruth
from .matching import find_pairs, greedy_match
from .sizes import SizeBins

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
        num_classes: K.
        object_image, object_segment: image and area-class segment (a * K + k) of the objects that
            count in a range.
        candidate_image: (C,) image of every candidate.
        counted: (A, T, C) bool, candidates that are not ignored.
        rest_image: A arrays, images of the remaining detections that count, all false positives.
        rest_before: (A, C) how many of them stand before each candidate.
        rest_class_start: (A, K) how many of them stand before each class.
        class_start: (K,) first candidate of each class.
        tp_area, tp_iou, tp_candidate, tp_class, tp_rank: (S,) true positives, by area range, IoU
            and place; `tp_rank` is the place among the detections of its image and class.
    """

    bin_names: tuple[str, ...]
    num_classes: int
    object_image: Array
    object_segment: Array
    candidate_image: Array
    counted: Array
    rest_image: tuple[Array, ...]
    rest_before: Array
    rest_class_start: Array
    class_start: Array
    tp_area: Array
    tp_iou: Array
    tp_candidate: Array
    tp_class: Array
    tp_rank: Array

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

        num_classes = ground_truth.num_classes
        rest = ~candidate & in_range
        rest_count = np.concatenate([np.zeros((len(ranges), 1), int), rest.cumsum(1)], axis=1)
        classes = np.arange(num_classes)
        tp_area, tp_iou, tp_candidate = np.nonzero(true_positive)
        object_area, object_index = np.nonzero(~ignored)
        return cls(
            bin_names=bins.names,
            num_classes=num_classes,
            object_image=ground_truth.image[object_index],
            object_segment=object_area * num_classes + ground_truth.category[object_index],
            candidate_image=image[columns],
            counted=counted,
            rest_image=tuple(image[row] for row in rest),
            rest_before=rest_count[:, columns],
            rest_class_start=rest_count[:, np.searchsorted(category, classes)],
            class_start=np.searchsorted(category[columns], classes),
            tp_area=tp_area,
            tp_iou=tp_iou,
            tp_candidate=tp_candidate,
            tp_class=category[columns][tp_candidate],
            tp_rank=pairs.rank[place][columns][tp_candidate],
        )

    def metrics(self, image_weights: Array | None = None) -> dict[str, float]:
        """AP, AP50, AP75, AR1, AR10, AR100 and AP and AR of every size, in percent.

        Sizes are written as Detectron2 does (APs, APm, APl) for small, medium and large, else
        `AP-<bin>`. A size without objects is NaN.

        Args:
            image_weights: (N,) non-negative integers; 1 for all by default.
        """
        precision, present = self.average_precision(image_weights)
        sizes = size_suffixes(self.bin_names)
        out = {
            "AP": _mean(precision[0][:, present[0]]),
            "AP50": _mean(precision[0, 0, present[0]]),
            "AP75": _mean(precision[0, 5, present[0]]),
        }
        for area, suffix in enumerate(sizes, start=1):
            out[f"AP{suffix}"] = _mean(precision[area][:, present[area]])
        for limit in _MAX_DETECTIONS:
            recall = self.recall(limit, image_weights)
            out[f"AR{limit}"] = _mean(recall[0][:, present[0]])
        for area, suffix in enumerate(sizes, start=1):
            out[f"AR{suffix}"] = _mean(recall[area][:, present[area]])
        return out

    def average_precision(self, image_weights: Array | None = None) -> tuple[Array, Array]:
        """AP per area range, IoU and class, as fractions.

        Args:
            image_weights: see :meth:`metrics`.

        Returns:
            precision: (A, T, K) float64; 0 for a class without objects.
            present: (A, K) bool, classes that have objects.
        """
        weight = _weights(image_weights, self._num_images)
        objects = self._objects(weight)
        num_areas, num_ious, num_candidates = self.counted.shape
        segment = (self.tp_area * num_ious + self.tp_iou) * self.num_classes + self.tp_class

        # Detections that count, up to and with each true positive, since the start of its class.
        before = np.zeros((num_areas, num_ious, num_candidates + 1), dtype=np.int64)
        np.cumsum(self.counted * weight[self.candidate_image], axis=2, out=before[:, :, 1:])
        shown = before[self.tp_area, self.tp_iou, self.tp_candidate + 1]
        shown -= before[self.tp_area, self.tp_iou, self.class_start[self.tp_class]]
        for area, images in enumerate(self.rest_image):
            rest = np.concatenate([[0], np.cumsum(weight[images])])
            rows = slice(*np.searchsorted(self.tp_area, (area, area + 1)))
            shown[rows] += rest[self.rest_before[area, self.tp_candidate[rows]]]
            shown[rows] -= rest[self.rest_class_start[area, self.tp_class[rows]]]

        right = np.concatenate([[0], np.cumsum(weight[self.candidate_image[self.tp_candidate]])])
        start = np.searchsorted(segment, segment) if len(segment) else segment
        right = right[1:] - right[start]
        recall = right / np.maximum(objects[self.tp_area, self.tp_class], 1)
        precision = right / np.maximum(shown, 1)

        # The envelope runs from the last true positive of a segment to its first.
        lift = 2.0 * (num_areas * num_ious * self.num_classes - segment)
        envelope = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        points = _points_up_to(recall)
        points = points - np.where(np.arange(len(start)) == start, 0, np.r_[0, points[:-1]])
        size = num_areas * num_ious * self.num_classes
        total = np.bincount(segment, weights=envelope * points, minlength=size)
        total = total.reshape(num_areas, num_ious, self.num_classes) / len(_RECALL_POINTS)
        return total, objects > 0

    def recall(self, max_detections: int, image_weights: Array | None = None) -> Array:
        """(A, T, K) recall with the first `max_detections` per image and class, as fractions."""
        weight = _weights(image_weights, self._num_images)
        rows = self.tp_rank < max_detections
        num_areas, num_ious, _ = self.counted.shape
        segment = (self.tp_area * num_ious + self.tp_iou) * self.num_classes + self.tp_class
        found = np.bincount(
            segment[rows],
            weights=weight[self.candidate_image[self.tp_candidate[rows]]],
            minlength=num_areas * num_ious * self.num_classes,
        ).reshape(num_areas, num_ious, self.num_classes)
        return found / np.maximum(self._objects(weight), 1)[:, None]

    @property
    def _num_images(self) -> int:
        images = (self.object_image, self.candidate_image, *self.rest_image)
        return 1 + max((int(i.max()) for i in images if len(i)), default=-1)

    def _objects(self, weight: Array) -> Array:
        size = self.counted.shape[0] * self.num_classes
        count = np.bincount(self.object_segment, weights=weight[self.object_image], minlength=size)
        return count.reshape(-1, self.num_classes)


def size_suffixes(bin_names: Sequence[str]) -> list[str]:
    """Endings of the metric names of every size: Detectron2's s, m, l, else `-<bin>`."""
    return [name[0] if name in SIZE_NAMES else f"-{name}" for name in bin_names]


def _weights(image_weights: Array | None, num_images: int) -> Array:
    if image_weights is None:
        return np.ones(num_images, dtype=np.int64)
    return np.asarray(image_weights)


def _points_up_to(recall: Array) -> Array:
    """How many of the 101 recall points each recall reaches; exact, as rounding is not."""
    points = np.append(_RECALL_POINTS, np.inf)
    base = (recall * 100).astype(np.int64).clip(0, 100)
    return base + (points[base] <= recall) + (points[base + 1] <= recall)


def _mean(values: Array) -> float:
    return float(values.mean() * 100) if values.size else float("nan")
