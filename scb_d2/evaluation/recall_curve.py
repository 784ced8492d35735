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
from .ordering import sorted_by_score
from .size_bins import SizeBins

__all__ = ["RecallCurve", "RecallPoint", "RecallTable"]

Array = NDArray[Any]

_AT_ONCE = 1 << 14  # entries that are counted before it is asked whether they suffice


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
class ScoredImages:
    """The scores and images of what is counted, by falling score.

    Attributes:
        negative_scores: ascending.
        images: of each.
    """

    negative_scores: Array
    images: Array

    def count(self, image_weights: Array, score: float, inclusive: bool = True) -> int:
        """How many there are from a score on, or above it."""
        side = "right" if inclusive else "left"
        end = np.searchsorted(self.negative_scores, -score, side=side)
        return int(image_weights.take(self.images[:end]).sum())

    def score_beyond(self, image_weights: Array, allowed: float) -> float | None:
        """The score at which there are more than allowed; None where there never are."""
        for start in range(0, len(self.images), _AT_ONCE):
            counts = image_weights.take(self.images[start : start + _AT_ONCE])
            total = counts.sum()
            if total > allowed:
                place = start + np.searchsorted(np.cumsum(counts), allowed, side="right")
                return -float(self.negative_scores[place])
            allowed -= total
        return None


@dataclass(frozen=True)
class RecallTable:
    """Scores at which objects are found and false positives appear.

    Attributes:
        objects: of all sizes and of every bin, images of the objects that are not ignored.
        hits: likewise those that are found.
        true_positives: detections that find an object.
        false_positives: of all sizes and of every bin, by the area of their own box.
    """

    objects: list[Array]
    hits: list[ScoredImages]
    true_positives: ScoredImages
    false_positives: list[ScoredImages]

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
        found = real[matches.object_score[real] > -np.inf]
        found = found[np.argsort(-matches.object_score[found], kind="stable")]
        by_score = sorted_by_score(detections.score_rank)
        outcome = matches.outcome.take(by_score)
        right, wrong = (by_score[outcome == kind] for kind in (1, 0))
        wrong_area = detections.area.take(wrong)
        if area_scales is not None:
            wrong_area = wrong_area * area_scales[detections.image[wrong]]
        hits = ScoredImages(-matches.object_score[found], ground_truth.image[found])
        true_positives, false_positives = (
            ScoredImages(-detections.scores.take(x), detections.image.take(x))
            for x in (right, wrong)
        )
        images = ground_truth.image[real]
        return cls(
            objects=[images, *(images[object_bin[real] == b] for b in range(len(bins)))],
            hits=_by_size(hits, object_bin[found], len(bins)),
            true_positives=true_positives,
            false_positives=_by_size(false_positives, bins.index(wrong_area), len(bins)),
        )

    @property
    def num_bins(self) -> int:
        """Size bins."""
        return len(self.objects) - 1

    def curve(self, image_weights: Array) -> RecallCurve:
        """Counts as a function of the score, where image n counts `image_weights[n]` times."""
        objects = np.array([int(image_weights[images].sum()) for images in self.objects])
        return RecallCurve(self, image_weights, int(image_weights.sum()), objects)


def _by_size(items: ScoredImages, bin_index: Array, num_bins: int) -> list[ScoredImages]:
    parts = (np.flatnonzero(bin_index == b) for b in range(num_bins))
    return [
        items,
        *(ScoredImages(items.negative_scores.take(x), items.images.take(x)) for x in parts),
    ]


@dataclass(frozen=True)
class RecallCurve:
    """Counts under one set of weights of the images; see :meth:`RecallTable.curve`.

    Attributes:
        table: what is counted.
        image_weights: (N,) how often each image counts.
        num_images: their sum.
        objects: (1 + bins,) all objects.
    """

    table: RecallTable
    image_weights: Array
    num_images: int
    objects: Array

    def at_score(self, threshold: float) -> RecallPoint:
        """Counts of the detections whose score is not below the threshold."""
        return self._point(threshold)

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
        score = self.score_beyond(per_image, size)
        if score is None:
            return self._point(-np.inf), None
        return self._point(score, inclusive=False), score

    def score_beyond(self, per_image: float, size: int = 0) -> float | None:
        """The score alone that :meth:`at_false_positives` returns."""
        # The small term keeps 0.1 x 30 images from falling short of 3.
        allowed = per_image * self.num_images + 1e-9
        return self.table.false_positives[size].score_beyond(self.image_weights, allowed)

    def false_positives(self, threshold: float, size: int) -> int:
        """False positives of one size whose score is not below the threshold."""
        return self.table.false_positives[size].count(self.image_weights, threshold)

    def recall(self, threshold: float, size: int) -> float:
        """Recall of one size at a score in percent; NaN where there are no objects."""
        hits = self.table.hits[size].count(self.image_weights, threshold)
        return 100.0 * hits / self.objects[size] if self.objects[size] else float("nan")

    def _point(self, score: float, inclusive: bool = True) -> RecallPoint:
        table, weights = self.table, self.image_weights
        hits, wrong = (
            np.array([part.count(weights, score, inclusive) for part in parts])
            for parts in (table.hits, table.false_positives)
        )
        return RecallPoint(
            hits=hits,
            objects=self.objects,
            true_positives=table.true_positives.count(weights, score, inclusive),
            false_positives=wrong,
        )
