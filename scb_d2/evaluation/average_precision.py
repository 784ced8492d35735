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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.utils.size_groups import SIZE_NAMES

from .pairs import Pairs
from .ranked_matches import MAX_DETECTIONS, RankedMatches
from .size_bins import SizeBins

__all__ = ["PrecisionTable", "size_suffixes"]

Array = NDArray[Any]

_RECALL_POINTS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 1 << 12  # true positives: what is made of them stays in a processor's cache
_BLOCK = 64  # most rows that are counted one after the other, in all blocks at once


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
        recalls, present = self.recalls(weights)
        for limit, recall in zip(MAX_DETECTIONS, recalls, strict=True):
            out[f"AR{limit}"] = _mean(recall[:, 0], present[:, 0])
        for area, suffix in enumerate(size_suffixes(self.bin_names), start=1):
            out[f"AR{suffix}"] = _mean(recalls[-1, :, area], present[:, area])
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
        objects = matches.objects @ columns  # (A * K, B)
        counts = _Counts(matches, columns, objects)
        out = np.zeros((int(np.prod(matches.shape)), len(weights)))
        for segments, places in matches.chunks(_AT_ONCE):
            out[matches.segment[segments]] = _precision(matches, counts, segments, places)
        areas, _, classes = matches.shape
        present = objects.T.reshape(-1, areas, classes) > 0
        return out.T.reshape(-1, *matches.shape), present

    def recalls(self, image_weights: Array) -> tuple[Array, Array]:
        """Recall with the first `MAX_DETECTIONS` per image and class, as fractions.

        Args:
            image_weights: (B, N).

        Returns:
            recalls: (limits, B, A, T, K) float64.
            present: (B, A, K) bool, classes that have objects.
        """
        matches = self.matches
        areas, thresholds, classes = matches.shape
        objects = (matches.objects @ image_weights.T).T.reshape(-1, areas, 1, classes)
        limit = np.searchsorted(MAX_DETECTIONS, matches.tp_rank, side="right")
        size = areas * thresholds * classes
        cell = limit * size + matches.tp_segment
        counts = np.stack(
            [
                np.bincount(cell, row.take(matches.tp_image), len(MAX_DETECTIONS) * size)
                for row in image_weights
            ],
            axis=1,
        )
        found = counts.reshape(len(MAX_DETECTIONS), -1, *matches.shape).cumsum(0)
        return found / np.maximum(objects, 1), objects[:, :, 0] > 0

    def _weights(self, image_weights: Array | None) -> Array:
        """(B, N) int32."""
        if image_weights is None:
            image_weights = np.ones(self.matches.num_images)
        return np.atleast_2d(np.asarray(image_weights, dtype=np.int32))


class _Counts:
    """What B sets of weights make of the matches."""

    def __init__(self, matches: RankedMatches, weights: Array, objects: Array):
        """Count.

        Args:
            matches: of the run.
            weights: (N, B) of the images.
            objects: (A * K, B) objects of every range and class.
        """
        self.weights = weights
        self.shown = _running(matches.steps @ weights)
        self.changes = _running(np.concatenate([weights, -weights]).take(matches.change_image, 0))
        numbers, of = np.unique(objects, return_inverse=True)
        self.points, first = _points_reached(numbers)
        self.first_point = first.take(of.reshape(objects.shape)).take(matches.segment_class, 0)
        self.shown_before = self.shown.take(matches.first_step.take(matches.segment_class), 0)
        self.shown_before += self.changes.take(matches.segment_change, 0)


def _precision(matches: RankedMatches, counts: _Counts, segments: slice, places: slice) -> Array:
    """(q, B) average precision of some segments, whose true positives lie at these places."""
    starts = matches.segment_start[segments] - places.start
    total = places.stop - places.start
    rows = np.repeat(np.arange(len(starts)), np.diff(starts, append=total))
    right = _running(counts.weights.take(matches.tp_image[places], 0))
    right = right[1:] - right.take(starts, 0).take(rows, 0)
    shown = counts.shown.take(matches.tp_step[places], 0)
    shown += counts.changes.take(matches.tp_change[places], 0)
    shown -= counts.shown_before[segments].take(rows, 0)
    # A segment's envelope runs from its last true positive to its first: lifted, each lies above
    # those of all later segments.
    lift = 2.0 * (len(starts) - rows)[:, None]
    blocks, envelope = _blocks(right.shape, np.float64)
    np.divide(right, np.maximum(shown, 1, out=shown), out=envelope)
    envelope += lift
    _raise_to_later(blocks)
    envelope -= lift
    right += counts.first_point[segments].take(rows, 0)
    points = counts.points.take(right)
    gained = points.copy()
    gained[1:] -= points[:-1]
    gained[starts] = points[starts]
    envelope *= gained
    of_segment = csr_array((np.ones(total), np.arange(total), np.append(starts, total)))
    return of_segment @ envelope / len(_RECALL_POINTS)


def size_suffixes(bin_names: Sequence[str]) -> list[str]:
    """Endings of the metric names of every size: Detectron2's s, m, l, else `-<bin>`."""
    return [name[0] if name in SIZE_NAMES else f"-{name}" for name in bin_names]


def _points_reached(objects: Array) -> tuple[Array, Array]:
    """How many of the 101 recall points any number of true positives reaches.

    Args:
        objects: (n,) numbers of objects.

    Returns:
        The points, for 0 up to all objects one after the other, and (n,) where each begins.
    """
    first = np.cumsum(objects + 1) - (objects + 1)
    recall = np.arange(int((objects + 1).sum()), dtype=np.float64)
    recall -= np.repeat(first, objects + 1)
    recall /= np.repeat(np.maximum(objects, 1), objects + 1)
    # Exact, as rounding is not.
    points = np.append(_RECALL_POINTS, np.inf)
    base = (recall * 100).astype(np.int32)
    base += points[base + 1] <= recall
    return (base + (points[base] <= recall)).astype(np.uint8), first.astype(np.int32)


def _running(counts: Array) -> Array:
    """Cumulative counts along the first axis, from 0: (n + 1, B) of (n, B), int32."""
    blocks, out = _blocks((len(counts) + 1, counts.shape[1]), np.int32)
    out[1:] = counts
    for row in range(1, blocks.shape[1]):
        blocks[:, row] += blocks[:, row - 1]
    blocks[1:] += np.cumsum(blocks[:-1, -1], axis=0, dtype=np.int32)[:, None]
    return out


def _raise_to_later(blocks: Array) -> None:
    """Raise the values >= 0 of rows in blocks to the maximum of each and all that follow it."""
    for row in range(blocks.shape[1] - 1, 0, -1):
        np.maximum(blocks[:, row - 1], blocks[:, row], out=blocks[:, row - 1])
    later = np.maximum.accumulate(blocks[:0:-1, 0], axis=0)[::-1]
    np.maximum(blocks[:-1], later[:, None], out=blocks[:-1])


def _blocks(shape: tuple[int, ...], dtype: type) -> tuple[Array, Array]:
    """Zeros in blocks of rows, (n, at most _BLOCK, B), and a view of them in `shape`, (length, B).

    A step from row to row of all blocks at once, then from block to block, is several times faster
    than NumPy's and PyTorch's cumulative functions along the first axis, but for few columns.
    """
    length, width = shape
    rows = min(_BLOCK, width)
    blocks: Array = np.zeros((-(-length // rows), rows, width), dtype)
    return blocks, blocks.reshape(-1, width)[:length]


def _mean(values: Array, present: Array) -> Array:
    """(B,) mean in percent of (B, T, K) values over T and the classes that are present.

    Args:
        values: fractions.
        present: (B, K) bool.
    """
    counted = present.sum(1) * values.shape[1]
    with np.errstate(invalid="ignore"):
        return 100 * (values.sum(1) * present).sum(1) / counted
