"""Recall by object size, and the false positives that it costs.

Recall at a fixed confidence alone misleads: a loss that raises every score raises it too. So
every row carries precision and false positives per image, and recall is also taken where runs make
equally many false positives per image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.coco import Detections, GroundTruth
from scb_d2.errors import ConfigError

from .average_precision import PrecisionTable
from .detection_matching import MATCH_RULES, ScoredMatches, match_by_score
from .size_bins import AREA_RULES, SizeBins, object_areas

__all__ = ["RecallCurve", "RecallSettings", "RecallTable", "evaluate_recall", "flat_metrics"]

Array = NDArray[Any]

_EQUAL_FP_RULE = (
    "detections are kept by falling score while the false positives of the whole data set stay "
    "within the given number per image; equal scores are kept or left out together"
)


@dataclass(frozen=True)
class RecallSettings:
    """What is measured.

    Attributes:
        iou: lowest IoU of a match, in (0, 1].
        thresholds: confidences; a detection counts where its score is not below. The paper's by
            default (tables 3, 4 and 6 to 9).
        fp_per_image: false positives per image at which recall is taken too.
        match: a key of :data:`scb_d2.evaluation.detection_matching.MATCH_RULES`.
        area: a key of :data:`scb_d2.evaluation.size_bins.AREA_RULES`.
        bins: size bins.
        max_detections: most detections per image and class (`any`: per image) for recall; None:
            all that are given. AP and AR always take COCO's 100.

    Raises:
        ConfigError: a value is out of range.
    """

    iou: float = 0.5
    thresholds: tuple[float, ...] = (0.01, 0.1, 0.3)
    fp_per_image: tuple[float, ...] = (0.1, 1.0, 10.0)
    match: str = "greedy"
    area: str = "annotation"
    bins: SizeBins = field(default_factory=SizeBins)
    max_detections: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise ConfigError(f"IoU threshold {self.iou}: must lie in (0, 1].")
        if self.match not in MATCH_RULES:
            raise ConfigError(
                f"match rule {self.match!r}: must be one of {', '.join(MATCH_RULES)}."
            )
        if self.area not in AREA_RULES:
            raise ConfigError(f"area rule {self.area!r}: must be one of {', '.join(AREA_RULES)}.")
        if not self.thresholds or not np.isfinite(self.thresholds).all():
            raise ConfigError(f"score thresholds {self.thresholds}: must be finite numbers.")
        if not all(0 <= value < np.inf for value in self.fp_per_image):
            raise ConfigError(f"false positives per image {self.fp_per_image}: must be >= 0.")
        if self.max_detections is not None and self.max_detections < 1:
            raise ConfigError(f"max_detections {self.max_detections}: must be at least 1.")

    def describe(self) -> dict[str, Any]:
        """The rules behind the numbers, in words."""
        return {
            "match": f"{self.match}: {MATCH_RULES[self.match]}",
            "iou": self.iou,
            "score": "a detection counts where its score is not below the threshold",
            "size": f"{self.area}: {AREA_RULES[self.area]}",
            "bins": self.bins.describe(),
            "left out": "crowd and difficult objects, and detections that only meet these",
            "max_detections": self.max_detections,
            "equal false positives": _EQUAL_FP_RULE,
        }


@dataclass(frozen=True)
class RecallPoint:
    """Counts with the detections above one score; index 0 is all sizes, then the bins."""

    hits: Array
    objects: Array
    true_positives: int
    false_positives: int

    @property
    def recall(self) -> Array:
        """Percent; NaN where there are no objects."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return 100.0 * self.hits / self.objects

    @property
    def precision(self) -> float:
        """Percent; NaN without detections."""
        shown = self.true_positives + self.false_positives
        return 100.0 * self.true_positives / shown if shown else float("nan")


@dataclass(frozen=True)
class RecallTable:
    """Scores at which objects are found and false positives appear, each by falling score.

    Attributes:
        num_bins: size bins.
        object_image, object_bin: (G',) of the objects that are not ignored.
        hit_score, hit_image, hit_bin: of the objects that are found.
        tp_score, tp_image, fp_score, fp_image: of the detections.
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

    @classmethod
    def from_matches(
        cls,
        ground_truth: GroundTruth,
        detections: Detections,
        matches: ScoredMatches,
        bins: SizeBins,
        areas: Array,
    ) -> RecallTable:
        """Sort the outcome of a matching once, for any threshold."""
        real = np.flatnonzero(~ground_truth.ignored)
        object_bin = bins.index(areas)
        hits = real[matches.object_score[real] > -np.inf]
        hits = hits[np.argsort(-matches.object_score[hits], kind="stable")]
        by_score = np.argsort(-detections.scores, kind="stable")
        right, wrong = (by_score[matches.outcome[by_score] == kind] for kind in (1, 0))
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
            false_positives=_running(image_weights[self.fp_image]),
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

    def at_false_positives(self, per_image: float) -> tuple[RecallPoint, float | None]:
        """Counts where the false positives per image stay within a limit.

        Returns:
            The counts, and the score above which detections were kept: None where all were, since
            the run makes fewer false positives than allowed.
        """
        # The small term keeps 0.1 x 30 images from falling short of 3.
        allowed = per_image * self.num_images + 1e-9
        kept = int(np.searchsorted(self.false_positives[1:], allowed, side="right"))
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
            false_positives=int(self.false_positives[wrong]),
        )


def evaluate_recall(
    ground_truth: GroundTruth,
    detections: Detections,
    settings: RecallSettings | None = None,
    *,
    area_scales: Array | None = None,
) -> dict[str, Any]:
    """Recall by size, precision, false positives, AP and AR of one run.

    Args:
        ground_truth: G objects of N images.
        detections: D detections.
        settings: what is measured.
        area_scales: (N,) square network-input pixels per square native pixel, for the area rule
            `input`.

    Returns:
        A dictionary ready for JSON: `rules`, `num_images`, `objects`, `thresholds`,
        `equal_false_positives` (one entry per value asked for) and `metrics` (AP, AR). Percent.
    """
    settings = settings or RecallSettings()
    areas = object_areas(ground_truth, settings.area, area_scales)
    matches = match_by_score(
        ground_truth,
        detections,
        iou=settings.iou,
        rule=settings.match,
        max_detections=settings.max_detections,
    )
    table = RecallTable.from_matches(ground_truth, detections, matches, settings.bins, areas)
    curve = table.curve(np.ones(ground_truth.num_images, dtype=np.int64))
    scales = area_scales if settings.area == "input" else None
    precision = PrecisionTable.from_detections(
        ground_truth, detections, bins=settings.bins, areas=areas, area_scales=scales
    )
    names = ("all", *settings.bins.names)

    def row(point: RecallPoint) -> dict[str, Any]:
        return {
            "hits": dict(zip(names, point.hits.tolist(), strict=True)),
            "recall": dict(zip(names, point.recall.tolist(), strict=True)),
            "precision": point.precision,
            "true_positives": point.true_positives,
            "false_positives": point.false_positives,
            "fp_per_image": point.false_positives / max(curve.num_images, 1),
        }

    equal = []
    for limit in settings.fp_per_image:
        point, score = curve.at_false_positives(limit)
        equal.append({"limit": limit, "score_above": score, **row(point)})
    return {
        "rules": settings.describe(),
        "num_images": ground_truth.num_images,
        "num_detections": len(detections),
        "objects": dict(zip(names, curve.objects.tolist(), strict=True)),
        "ignored_objects": int(ground_truth.ignored.sum()),
        "thresholds": [
            {"threshold": value, **row(curve.at_score(value))} for value in settings.thresholds
        ],
        "equal_false_positives": equal,
        "metrics": precision.metrics(),
    }


def flat_metrics(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of :func:`evaluate_recall` as Detectron2's evaluators return them.

    Keys: `AP`, `APs`, ..., `ARl`, `objects_small`, `recall_small_0.01`, `hits_small_0.01`,
    `precision_0.01`, `fp_per_image_0.01` and `recall_small_fp0.1` (0.1 false positives per image).
    """
    flat = dict(result["metrics"])
    flat |= {f"objects_{name}": float(count) for name, count in result["objects"].items()}
    for row in result["thresholds"]:
        at = f"{row['threshold']:g}"
        flat |= {f"recall_{name}_{at}": value for name, value in row["recall"].items()}
        flat |= {f"hits_{name}_{at}": float(value) for name, value in row["hits"].items()}
        flat[f"precision_{at}"] = row["precision"]
        flat[f"fp_per_image_{at}"] = row["fp_per_image"]
    for row in result["equal_false_positives"]:
        at = f"fp{row['limit']:g}"
        flat |= {f"recall_{name}_{at}": value for name, value in row["recall"].items()}
    return flat


def _running(counts: Array) -> Array:
    """Cumulative counts along the last axis, from 0."""
    out = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=-1, out=out[..., 1:])
    return out
