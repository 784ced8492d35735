"""How many objects and false positives there are above a score, by size: one sort, any threshold.

Index 0 of a size axis is all sizes, then the bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth

from .detection_matching import ScoredMatches
from .size_bins import SizeBins

__all__ = ["RecallCurve", "RecallPoint", "RecallTable"]

Array = NDArray[Any]


@dataclass(frozen=True)
class RecallPoint:
    """Counts with the detections above one score.

    Attributes:
        hits, objects, false_positives: (1 + bins,) objects found, all objects, and false positives
            by the area of their own box.
        true_positives: detections that find an object.
    """

    hits: Array
    objects: Array
    true_positives: int
    false_positives: Array

    @property
    def recall(self) -> Array:
        """Percent; NaN where there are no objects."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return 100.0 * self.hits / self.objects

    @property
    def precision(self) -> float:
        """Percent; NaN without detections."""
        shown = self.true_positives + int(self.false_positives[0])
        return 100.0 * self.true_positives / shown if shown else float("nan")


@dataclass(frozen=True)
class RecallTable:
    """Scores at which objects are found and false positives appear, each by falling score.

    Attributes:
        num_bins: size bins.
        object_image, object_bin: (G',) of the objects that are not ignored.
        hit_score, hit_image, hit_bin: of the objects that are found.
        tp_score, tp_image, fp_score, fp_image: of the detections.
        fp_bin: of the false positives, by the area of their own box.
    """

    num_bins: int
    object_image: Array
    object_bin: Array
    hit_score: Array
    hit_image: Array
    hit_bin: Array
    tp_score: Array
    tp_image: Array
    fp_score: Array
    fp_image: Array
    fp_bin: Array

    @classmethod
    def from_matches(
        cls,
        ground_truth: GroundTruth,
        detections: Detections,
        matches: ScoredMatches,
        bins: SizeBins,
        areas: Array,
        area_scales: Array | None = None,
    ) -> RecallTable:
        """Sort the outcome of a matching once, for any threshold.

        Args:
            ground_truth: G objects of N images.
            detections: D detections.
            matches: which of them find which.
            bins: size bins.
            areas: (G,) areas of the objects.
            area_scales: (N,) factor on the area of a detection's box where `areas` are not in
                native pixels.
        """
        real = np.flatnonzero(~ground_truth.ignored)
        object_bin = bins.index(areas)
        hits = real[matches.object_score[real] > -np.inf]
        hits = hits[np.argsort(-matches.object_score[hits], kind="stable")]
        by_score = np.argsort(-detections.scores, kind="stable")
        right, wrong = (by_score[matches.outcome[by_score] == kind] for kind in (1, 0))
        wrong_area = detections.area[wrong]
        if area_scales is not None:
            wrong_area = wrong_area * area_scales[detections.image[wrong]]
        return cls(
            num_bins=len(bins),
            object_image=ground_truth.image[real],
            object_bin=object_bin[real],
            hit_score=matches.object_score[hits],
            hit_image=ground_truth.image[hits],
            hit_bin=object_bin[hits],
            tp_score=detections.scores[right],
            tp_image=detections.image[right],
            fp_score=detections.scores[wrong],
            fp_image=detections.image[wrong],
            fp_bin=bins.index(wrong_area),
        )

    def curve(self, image_weights: Array) -> RecallCurve:
        """Counts as a function of the score, where image n counts `image_weights[n]` times."""
        objects = self._by_bin(self.object_bin, image_weights[self.object_image]).sum(1)
        return RecallCurve(
            table=self,
            num_images=int(image_weights.sum()),
            objects=objects,
            hits=_running(self._by_bin(self.hit_bin, image_weights[self.hit_image])),
            true_positives=_running(image_weights[self.tp_image]),
            false_positives=_running(self._by_bin(self.fp_bin, image_weights[self.fp_image])),
        )

    def _by_bin(self, bin_index: Array, weights: Array) -> Array:
        rows = np.zeros((self.num_bins + 1, len(weights)), dtype=np.int64)
        rows[0] = weights
        rows[bin_index + 1, np.arange(len(weights))] = weights
        return rows


@dataclass(frozen=True)
class RecallCurve:
    """Running counts by falling score; see :meth:`RecallTable.curve`."""

    table: RecallTable
    num_images: int
    objects: Array
    hits: Array
    true_positives: Array
    false_positives: Array

    def at_score(self, threshold: float) -> RecallPoint:
        """Counts of the detections whose score is not below the threshold."""
        return self._at(-threshold, "right")

    def at_false_positives(
        self, per_image: float, size: int = 0
    ) -> tuple[RecallPoint, float | None]:
        """Counts where the false positives of one size stay within a limit per image.

        Args:
            per_image: the limit.
            size: whose false positives; 0: of all sizes, b + 1: of bin b.

        Returns:
            The counts, and the score above which detections were kept: None where all were, since
            the run makes fewer false positives than allowed.
        """
        # The small term keeps 0.1 x 30 images from falling short of 3.
        allowed = per_image * self.num_images + 1e-9
        kept = int(np.searchsorted(self.false_positives[size, 1:], allowed, side="right"))
        if kept == len(self.table.fp_score):
            return self._at(np.inf, "right"), None
        score = float(self.table.fp_score[kept])
        return self._at(-score, "left"), score

    def _at(self, negative_score: float, side: str) -> RecallPoint:
        hit, right, wrong = (
            np.searchsorted(-scores, negative_score, side=side)
            for scores in (self.table.hit_score, self.table.tp_score, self.table.fp_score)
        )
        return RecallPoint(
            hits=self.hits[:, hit],
            objects=self.objects,
            true_positives=int(self.true_positives[right]),
            false_positives=self.false_positives[:, wrong],
        )


def _running(counts: Array) -> Array:
    """Cumulative counts along the last axis, from 0."""
    out = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=-1, out=out[..., 1:])
    return out
