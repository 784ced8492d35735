"""Recall by object size, and the false positives that it costs.

Recall at a fixed confidence alone misleads: a loss that raises every score raises it too. So
every row carries precision and false positives per image, and recall is also taken where runs make
equally many false positives per image.

A false positive has no object whose size could be asked for. It counts in the size of its own box,
as in COCO's AP_S: were all sizes pooled, a shift of scores from large boxes to small ones would
read as a gain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.errors import ConfigError

from .average_precision import PrecisionTable
from .detection_matching import MATCH_RULES, ScoredMatches, match_by_score
from .pairs import find_pairs
from .ranked_matches import IOU_THRESHOLDS
from .recall_curve import RecallCurve, RecallTable
from .size_bins import AREA_RULES, SizeBins, object_areas

__all__ = ["RecallSettings", "RunTables", "evaluate_recall", "flat_metrics"]

Array = NDArray[Any]

_EQUAL_FP_RULE = (
    "for each size by itself, detections are kept by falling score while the false positives whose "
    "own box is of that size stay within the given number per image of the whole data set (all: "
    "those of every size); equal scores are kept or left out together"
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
            "false positives by size": "by the area of the detection's own box",
            "equal false positives": _EQUAL_FP_RULE,
        }


@dataclass(frozen=True)
class RunTables:
    """The matches of one run, ready for any weights of the images.

    Attributes:
        settings: what is measured.
        matches: at the IoU threshold of the settings.
        precision: AP and AR.
        recall: objects found and false positives at any score.
    """

    settings: RecallSettings
    matches: ScoredMatches
    precision: PrecisionTable
    recall: RecallTable

    @classmethod
    def from_detections(
        cls,
        ground_truth: GroundTruth,
        detections: Detections,
        settings: RecallSettings,
        area_scales: Array | None = None,
    ) -> RunTables:
        """Match one run; arguments as in :func:`evaluate_recall`."""
        areas = object_areas(ground_truth, settings.area, area_scales)
        scales = area_scales if settings.area == "input" else None
        pairs = find_pairs(ground_truth, detections, IOU_THRESHOLDS[0])
        matches = match_by_score(
            ground_truth,
            detections,
            iou=settings.iou,
            rule=settings.match,
            max_detections=settings.max_detections,
            pairs=pairs,
        )
        return cls(
            settings=settings,
            matches=matches,
            precision=PrecisionTable.from_detections(
                ground_truth,
                detections,
                bins=settings.bins,
                areas=areas,
                area_scales=scales,
                pairs=pairs,
            ),
            recall=RecallTable.from_matches(
                ground_truth, detections, matches, settings.bins, areas, scales
            ),
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
    tables = RunTables.from_detections(ground_truth, detections, settings, area_scales)
    curve = tables.recall.curve(np.ones(ground_truth.num_images, dtype=np.int64))
    names = ("all", *settings.bins.names)
    objects = dict(zip(names, curve.objects.tolist(), strict=True))
    return {
        "rules": settings.describe(),
        "num_images": ground_truth.num_images,
        "num_detections": len(detections),
        "objects": objects,
        "ignored_objects": int(ground_truth.ignored.sum()),
        "thresholds": [_at_score(curve, value, names) for value in settings.thresholds],
        "equal_false_positives": [
            _at_false_positives(curve, limit, names) for limit in settings.fp_per_image
        ],
        "metrics": tables.precision.metrics(),
    }


def _at_score(curve: RecallCurve, threshold: float, names: tuple[str, ...]) -> dict[str, Any]:
    point = curve.at_score(threshold)
    images = max(curve.num_images, 1)
    return {
        "threshold": threshold,
        "hits": dict(zip(names, point.hits.tolist(), strict=True)),
        "recall": dict(zip(names, point.recall.tolist(), strict=True)),
        "precision": point.precision,
        "true_positives": point.true_positives,
        "false_positives": dict(zip(names, point.false_positives.tolist(), strict=True)),
        "fp_per_image": dict(zip(names, (point.false_positives / images).tolist(), strict=True)),
    }


def _at_false_positives(curve: RecallCurve, limit: float, names: tuple[str, ...]) -> dict[str, Any]:
    """Every size where its own false positives stay within the limit."""
    row: dict[str, Any] = {"limit": limit}
    row |= {key: {} for key in ("score_above", "hits", "recall", "false_positives")}
    for size, name in enumerate(names):
        point, score = curve.at_false_positives(limit, size)
        row["score_above"][name] = score
        row["hits"][name] = int(point.hits[size])
        row["recall"][name] = float(point.recall[size])
        row["false_positives"][name] = int(point.false_positives[size])
    images = max(curve.num_images, 1)
    row["fp_per_image"] = {name: n / images for name, n in row["false_positives"].items()}
    return row


def flat_metrics(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of :func:`evaluate_recall` as Detectron2's evaluators return them.

    Keys: `AP`, `APs`, ..., `ARl`, `objects_small`, `recall_small_0.01`, `hits_small_0.01`,
    `precision_0.01`, `fp_per_image_0.01` and `recall_small_fp0.1` (0.1 false positives of small
    boxes per image; `recall_all_fp0.1`: of all boxes).
    """
    flat = dict(result["metrics"])
    flat |= {f"objects_{name}": float(count) for name, count in result["objects"].items()}
    for row in result["thresholds"]:
        at = f"{row['threshold']:g}"
        flat |= {f"recall_{name}_{at}": value for name, value in row["recall"].items()}
        flat |= {f"hits_{name}_{at}": float(value) for name, value in row["hits"].items()}
        flat[f"precision_{at}"] = row["precision"]
        flat[f"fp_per_image_{at}"] = row["fp_per_image"]["all"]
    for row in result["equal_false_positives"]:
        at = f"fp{row['limit']:g}"
        flat |= {f"recall_{name}_{at}": value for name, value in row["recall"].items()}
    return flat
