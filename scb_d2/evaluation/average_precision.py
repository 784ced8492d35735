"""COCO's AP and AR, for any weights of the images: one matching, many resamples.

The numbers are those of `COCOeval.evaluate()` and `accumulate()` (101 recall points, IoU 0.5 to
0.95, 100 detections per image and class). An image of weight w counts as w copies of it: weights of
1 are the point value, multinomial weights a bootstrap resample.

Precision is needed at the true positives only. How many detections a class shows up to one of them
differs between the IoU thresholds by the few that are matched; the others are counted once for all
thresholds, by a sparse product with the weights.

Naming convention: A area ranges, T IoU thresholds, K classes, N images, B sets of weights, S true
positives over all A and T, Q segments: the triples of A, T and K that have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.utils.size_groups import SIZE_NAMES

from .detection_matching import Pairs
from .ranked_matches import MAX_DETECTIONS, RankedMatches
from .size_bins import SizeBins

__all__ = ["PrecisionTable", "size_suffixes"]

Array = NDArray[Any]

_RECALL_POINTS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 1 << 14  # true positives: what is made of them stays in a processor's cache


class PrecisionTable:
    """AP and AR of one run on one data set under any weights of the images."""

    def __init__(self, bin_names: Sequence[str], matches: RankedMatches) -> None:
        """Keep the matches.

        Args:
            bin_names: names of the size bins; area range 0 is all sizes, then the bins.
            matches: of the run.
        """
        self.bin_names = tuple(bin_names)
        self.matches = matches

    @classmethod
    def from_detections(
        cls,
        ground_truth: GroundTruth,
        detections: Detections,
        *,
        bins: SizeBins | None = None,
        areas: Array | None = None,
        area_scales: Array | None = None,
        pairs: Pairs | None = None,
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
            pairs: all that :func:`.find_pairs` finds within a class from IoU 0.5 on; by default
                they are found here.
        """
        bins = bins or SizeBins()
        matches = RankedMatches.from_detections(
            ground_truth, detections, bins.coco_ranges(), areas, area_scales, pairs
        )
        return cls(bins.names, matches)

    def metrics(self, image_weights: Array | None = None) -> dict[str, float]:
        """AP, AP50, AP75, AR1, AR10, AR100 and AP and AR of every size, in percent.

        Sizes are written as Detectron2 does (APs, APm, APl) for small, medium and large, else
        `AP-<bin>`. A size without objects is NaN.

        Args:
            image_weights: (N,) non-negative integers; 1 for all by default.
        """
        weights = self._weights(image_weights)
        out = self.ap_metrics(weights)
        for limit in MAX_DETECTIONS:
            recall, present = self.recall(limit, weights)
            out[f"AR{limit}"] = _mean(recall[:, 0], present[:, 0])
        for area, suffix in enumerate(size_suffixes(self.bin_names), start=1):
            out[f"AR{suffix}"] = _mean(recall[:, area], present[:, area])
        return {name: float(value[0]) for name, value in out.items()}

    def ap_metrics(self, image_weights: Array) -> dict[str, Array]:
        """Those of :meth:`metrics` that are AP.

        Args:
            image_weights: (B, N) non-negative integers.

        Returns:
            (B,) values of each.
        """
        precision, present = self.average_precision(image_weights)
        out = {
            "AP": _mean(precision[:, 0], present[:, 0]),
            "AP50": _mean(precision[:, 0, :1], present[:, 0]),
            "AP75": _mean(precision[:, 0, 5:6], present[:, 0]),
        }
        for area, suffix in enumerate(size_suffixes(self.bin_names), start=1):
            out[f"AP{suffix}"] = _mean(precision[:, area], present[:, area])
        return out

    def average_precision(self, image_weights: Array | None = None) -> tuple[Array, Array]:
        """AP per area range, IoU and class, as fractions.

        Args:
            image_weights: (B, N) non-negative integers; 1 for all by default.

        Returns:
            precision: (B, A, T, K) float64; 0 for a class without objects.
            present: (B, A, K) bool, classes that have objects.
        """
        matches, weights = self.matches, self._weights(image_weights)
        columns = np.ascontiguousarray(weights.T)
        objects = (matches.objects @ columns).T  # (B, A * K)
        resamples = [
            _Counts(matches, *row)
            for row in zip(weights, objects, (matches.steps @ columns).T, strict=True)
        ]
        out = np.zeros((len(weights), int(np.prod(matches.shape))))
        for segments, places in matches.chunks(_AT_ONCE):
            chunk = _Chunk.of(matches, segments, places)
            for row, counts in zip(out, resamples, strict=True):
                row[matches.segment[segments]] = chunk.precision(counts)
        areas, _, classes = matches.shape
        present = objects.reshape(-1, areas, classes) > 0
        return out.reshape(-1, *matches.shape), present

    def recall(self, max_detections: int, image_weights: Array) -> tuple[Array, Array]:
        """Recall with the first `max_detections` per image and class, as fractions.

        Args:
            max_detections: of an image and class.
            image_weights: (B, N).

        Returns:
            recall: (B, A, T, K) float64.
            present: (B, A, K) bool, classes that have objects.
        """
        matches = self.matches
        areas, thresholds, classes = matches.shape
        objects = (matches.objects @ image_weights.T).T.reshape(-1, areas, 1, classes)
        kept = matches.tp_rank < max_detections
        image, segment = matches.tp_image[kept], matches.tp_segment[kept]
        size = areas * thresholds * classes
        found = np.stack([np.bincount(segment, row[image], size) for row in image_weights])
        return found.reshape(-1, *matches.shape) / np.maximum(objects, 1), objects[:, :, 0] > 0

    def _weights(self, image_weights: Array | None) -> Array:
        """(B, N) int32."""
        if image_weights is None:
            image_weights = np.ones(self.matches.num_images)
        return np.atleast_2d(np.asarray(image_weights, dtype=np.int32))


class _Counts:
    """What one set of weights makes of the matches."""

    def __init__(self, matches: RankedMatches, weights: Array, objects: Array, steps: Array):
        """Count.

        Args:
            matches: of the run.
            weights: (N,) of the images.
            objects: (A * K,) objects of every range and class.
            steps: (U,) detections of every step.
        """
        self.weights = weights
        self.shown = _running(np.ascontiguousarray(steps))
        self.changes = _running(np.concatenate([weights, -weights]).take(matches.change_image))
        self.reached, first = _points_reached(objects)
        self.first_reached = first.take(matches.segment_class)
        self.shown_before = self.shown.take(matches.first_step.take(matches.segment_class))
        self.shown_before += self.changes.take(matches.segment_change)


class _Chunk(NamedTuple):
    """Some segments and what is the same for them under all weights.

    Attributes:
        segments: which.
        starts, lengths: of their true positives among those of the chunk.
        image, step, change: of their true positives.
        lift: puts every true positive above those of all later segments.
    """

    segments: slice
    starts: Array
    lengths: Array
    image: Array
    step: Array
    change: Array
    lift: Array

    @classmethod
    def of(cls, matches: RankedMatches, segments: slice, places: slice) -> _Chunk:
        starts = matches.segment_start[segments] - places.start
        lengths = np.diff(starts, append=places.stop - places.start)
        columns = (matches.tp_image, matches.tp_step, matches.tp_change)
        lift = np.repeat(2.0 * np.arange(len(starts), 0, -1), lengths)
        return cls(segments, starts, lengths, *(column[places] for column in columns), lift)

    def precision(self, counts: _Counts) -> Array:
        """Average precision of every segment."""
        right = _running(counts.weights.take(self.image))
        right = right[1:] - np.repeat(right.take(self.starts), self.lengths)
        shown = counts.shown.take(self.step)
        shown += counts.changes.take(self.change)
        shown -= np.repeat(counts.shown_before[self.segments], self.lengths)
        # A segment's envelope runs from its last true positive to its first.
        envelope = _highest_from_here(right / np.maximum(shown, 1) + self.lift)
        envelope -= self.lift
        right += np.repeat(counts.first_reached[self.segments], self.lengths)
        points = counts.reached.take(right)
        gained = points.copy()
        gained[1:] -= points[:-1]
        gained[self.starts] = points[self.starts]
        envelope *= gained
        return np.add.reduceat(envelope, self.starts) / len(_RECALL_POINTS)


def size_suffixes(bin_names: Sequence[str]) -> list[str]:
    """Endings of the metric names of every size: Detectron2's s, m, l, else `-<bin>`."""
    return [name[0] if name in SIZE_NAMES else f"-{name}" for name in bin_names]


def _points_reached(objects: Array) -> tuple[Array, Array]:
    """How many of the 101 recall points any number of true positives reaches.

    Args:
        objects: (C,) numbers of objects.

    Returns:
        The points, for 0 up to all objects one after the other, and (C,) where each begins.
    """
    first = np.cumsum(objects + 1) - (objects + 1)
    recall = np.arange(int((objects + 1).sum()), dtype=np.float64)
    recall -= np.repeat(first, objects + 1)
    recall /= np.repeat(np.maximum(objects, 1), objects + 1)
    # Exact, as rounding is not.
    points = np.append(_RECALL_POINTS, np.inf)
    base = (recall * 100).astype(np.int32)
    base += points[base + 1] <= recall
    return base + (points[base] <= recall).astype(np.float64), first.astype(np.int32)


def _running(counts: Array) -> Array:
    """Cumulative counts along the last axis, from 0, int32."""
    # Several times faster than NumPy's.
    total = torch.from_numpy(counts).cumsum(-1, dtype=torch.int32)
    return F.pad(total, (1, 0)).numpy()


def _highest_from_here(values: Array) -> Array:
    """The maximum of each value and all that follow it."""
    return torch.from_numpy(values).flip(0).cummax(0).values.flip(0).numpy()


def _mean(values: Array, present: Array) -> Array:
    """(B,) mean in percent of (B, T, K) values over T and the classes that are present.

    Args:
        values: fractions.
        present: (B, K) bool.
    """
    counted = present.sum(1) * values.shape[1]
    with np.errstate(invalid="ignore"):
        return 100 * (values.sum(1) * present).sum(1) / counted
