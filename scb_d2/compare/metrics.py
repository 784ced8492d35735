"""What is compared of two runs, for any weights of the images, and its two-level bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scb_d2.data.reader.coco import Detections, GroundTruth
from scb_d2.evaluation.average_precision import PrecisionTable, size_suffixes
from scb_d2.evaluation.detection_matching import ScoredMatches, match_by_score
from scb_d2.evaluation.recall import RecallCurve, RecallPoint, RecallSettings, RecallTable
from scb_d2.evaluation.size_bins import object_areas

__all__ = ["RunTables", "bootstrap_differences", "is_judged", "metric_names", "pair_metrics"]

Array = NDArray[Any]

# Said beside the others, but neither good nor bad by themselves: no verdict is drawn from them.
_CONTEXT = ("precision", "fp_per_image")


@dataclass(frozen=True)
class RunTables:
    """The matches of one run, ready for any weights of the images."""

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
        """Match one run; see :func:`scb_d2.evaluation.recall.evaluate_recall`."""
        areas = object_areas(ground_truth, settings.area, area_scales)
        matches = match_by_score(
            ground_truth,
            detections,
            iou=settings.iou,
            rule=settings.match,
            max_detections=settings.max_detections,
        )
        return cls(
            settings=settings,
            matches=matches,
            precision=PrecisionTable.from_detections(
                ground_truth,
                detections,
                bins=settings.bins,
                areas=areas,
                area_scales=area_scales if settings.area == "input" else None,
            ),
            recall=RecallTable.from_matches(
                ground_truth, detections, matches, settings.bins, areas
            ),
        )


def metric_names(settings: RecallSettings) -> list[str]:
    """Names of the metrics of :func:`pair_metrics`, in its order.

    `recall_small_0.1` is recall at score 0.1; `recall_small_fp1` at 1 false positive per image;
    `recall_small_fp=baseline@0.1` at the false positives per image that the baseline of the pair
    makes at score 0.1.
    """
    sizes = settings.bins.names
    names = ["AP", "AP50", "AP75", *(f"AP{s}" for s in size_suffixes(settings.bins.names))]
    for value in settings.thresholds:
        names += [f"recall_{size}_{value:g}" for size in sizes]
    for value in settings.fp_per_image:
        names += [f"recall_{size}_fp{value:g}" for size in sizes]
    for value in settings.thresholds:
        names += [f"recall_{size}_fp=baseline@{value:g}" for size in sizes]
    for kind in _CONTEXT:
        names += [f"{kind}_{value:g}" for value in settings.thresholds]
    return names


def is_judged(name: str) -> bool:
    """Whether more of a metric is better, so that a verdict can be drawn."""
    return not name.startswith(_CONTEXT)


def pair_metrics(
    baseline: RunTables, candidate: RunTables, image_weights: Array
) -> tuple[Array, Array]:
    """Values of :func:`metric_names` of the two runs of one seed, in percent.

    Args:
        baseline: a run.
        candidate: its partner.
        image_weights: (N,) how often each image counts.
    """
    settings = baseline.settings
    curves = [run.recall.curve(image_weights) for run in (baseline, candidate)]
    points = [[curve.at_score(s) for s in settings.thresholds] for curve in curves]
    allowed = [_fp_per_image(point, curves[0]) for point in points[0]]
    # The baseline's own point, not the nearest below: its false positives may tie in score.
    matched = [points[0], [curves[1].at_false_positives(fp)[0] for fp in allowed]]
    values = []
    for run, curve, at_score, at_baseline in zip(
        (baseline, candidate), curves, points, matched, strict=True
    ):
        at_fp = [curve.at_false_positives(fp)[0] for fp in settings.fp_per_image]
        recall = [point.recall[1:] for point in (*at_score, *at_fp, *at_baseline)]
        context = [point.precision for point in at_score]
        context += [_fp_per_image(point, curve) for point in at_score]
        values.append(
            np.concatenate([[*run.precision.ap_metrics(image_weights).values()], *recall, context])
        )
    return values[0], values[1]


def bootstrap_differences(
    pairs: Sequence[tuple[RunTables, RunTables]],
    num_images: int,
    resamples: int,
    seed: int = 0,
    progress: bool = False,
) -> Array:
    """Mean differences under resampling of seed pairs and, within a resample, of images.

    One resample of the images serves all its seed pairs: the images are the same for every run,
    and drawing them anew for each run would average their share of the noise away.

    Args:
        pairs: k pairs (baseline, candidate).
        num_images: N.
        resamples: B.
        seed: of the random draws.
        progress: whether to show a progress bar on stderr.

    Returns:
        (B, metrics) float64; NaN where a resample has no object of a size.
    """
    rng = np.random.default_rng(seed)
    out = np.empty((resamples, len(metric_names(pairs[0][0].settings))))
    for row in tqdm(out, desc="bootstrap", unit="resample", disable=not progress, mininterval=1):
        drawn, copies = np.unique(rng.integers(0, len(pairs), len(pairs)), return_counts=True)
        weights = np.bincount(rng.integers(0, num_images, num_images), minlength=num_images)
        differences = [np.subtract(*pair_metrics(*pairs[n], weights)[::-1]) for n in drawn]
        row[:] = np.average(differences, axis=0, weights=copies)
    return out


def _fp_per_image(point: RecallPoint, curve: RecallCurve) -> float:
    return point.false_positives / max(curve.num_images, 1)
