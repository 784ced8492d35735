"""What is compared of two runs, for any weights of the images, and its two-level bootstrap."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scb_d2.errors import ConfigError
from scb_d2.evaluation.average_precision import size_suffixes
from scb_d2.evaluation.recall import RecallSettings, RunTables
from scb_d2.evaluation.recall_curve import RecallCurve
from scb_d2.utils.hardware import available_cores

from .operating_point import OperatingPoint

__all__ = ["Metric", "bootstrap_differences", "list_metrics", "pair_metrics"]

Array = NDArray[Any]

_AT_ONCE = 64  # resamples


@dataclass(frozen=True)
class Metric:
    """One number of a run.

    Attributes:
        name: how tables and flags write it.
        family: `AP`, `AP50`, `AP75`, `recall`, `precision` or `fp_per_image`.
        size: `all` or a size bin.
        point: which detections count; None for AP, which takes them all.
        judged: whether a verdict is drawn. Recall at a fixed score, precision and false positives
            are context: neither good nor bad by themselves.
    """

    name: str
    family: str
    size: str = "all"
    point: OperatingPoint | None = None
    judged: bool = True


def list_metrics(
    recall: RecallSettings, recall_at: OperatingPoint, primary: str | None = None
) -> tuple[Metric, ...]:
    """The metrics of a comparison, the primary one first.

    Few are judged: the primary, AP, AP by size, and recall by size at one operating point. The
    scores and false positives per image of `recall` give context.

    Args:
        recall: what is measured.
        recall_at: where recall is judged.
        primary: name of the primary metric; by default AP of the smallest objects.

    Raises:
        ConfigError: no metric has the name `primary`.
    """
    names = recall.bins.names
    by_size = [
        Metric(f"AP{suffix}", "AP", size)
        for suffix, size in zip(size_suffixes(names), names, strict=True)
    ]
    judged = [*by_size, Metric("AP", "AP")]
    judged += [_recall(size, recall_at, judged=True) for size in (*names, "all")]
    further = [Metric("AP50", "AP50"), Metric("AP75", "AP75")]
    first = [m for m in (*judged, *further) if m.name == (primary or judged[0].name)]
    if not first:
        allowed = ", ".join(m.name for m in (*judged, *further))
        raise ConfigError(f"primary metric {primary!r}: must be one of {allowed}.")
    context = []
    for score in recall.thresholds:
        point = OperatingPoint("score", score)
        context += [_recall(size, point) for size in (*names, "all")]
        context.append(Metric(f"precision_{score:g}", "precision", "all", point, judged=False))
        context += [
            Metric(f"fp_per_image_{size}_{score:g}", "fp_per_image", size, point, judged=False)
            for size in (*names, "all")
        ]
    for limit in recall.fp_per_image:
        context += [_recall(size, OperatingPoint("fp", limit)) for size in (*names, "all")]
    known = {m.name for m in judged}
    return (
        *first,
        *(m for m in judged if m != first[0]),
        *(m for m in context if m.name not in known),
    )


def _recall(size: str, point: OperatingPoint, judged: bool = False) -> Metric:
    where = {"score": "", "fp": "fp", "baseline": "fp=baseline@"}[point.kind]
    return Metric(f"recall_{size}_{where}{point.value:g}", "recall", size, point, judged)


def pair_metrics(
    metrics: Sequence[Metric], baseline: RunTables, candidate: RunTables, image_weights: Array
) -> tuple[Array, Array]:
    """Values of the metrics of the two runs of one seed, in percent.

    Args:
        metrics: n of them.
        baseline: a run.
        candidate: its partner.
        image_weights: (B, N) how often each image counts, for B resamples.

    Returns:
        Two (B, n) float64.
    """
    sizes = {name: n for n, name in enumerate(("all", *baseline.settings.bins.names))}
    runs = (baseline, candidate)
    out = np.empty((2, len(image_weights), len(metrics)))
    precisions = [run.precision.ap_metrics(image_weights) for run in runs]
    for row, weights in enumerate(image_weights):
        curves = [run.recall.curve(weights) for run in runs]
        for arm, (precision, curve) in enumerate(zip(precisions, curves, strict=True)):
            out[arm, row] = [
                precision[m.name][row]
                if m.point is None
                else _at_point(m, m.point, sizes[m.size], curve, curves[0])
                for m in metrics
            ]
    return out[0], out[1]


def _at_point(
    metric: Metric, point: OperatingPoint, size: int, curve: RecallCurve, baseline: RecallCurve
) -> float:
    if metric.family == "recall":
        return point.recall(size, curve, baseline)
    counts = curve.at_score(point.value)
    if metric.family == "precision":
        return counts.precision
    return float(counts.false_positives[size]) / max(curve.num_images, 1)


def bootstrap_differences(
    metrics: Sequence[Metric],
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
        metrics: n of them.
        pairs: k pairs (baseline, candidate).
        num_images: N.
        resamples: B.
        seed: of the random draws.
        progress: whether to show a progress bar on stderr.

    Returns:
        (B, n) float64; NaN where a resample has no object of a size.
    """
    rng = np.random.default_rng(seed)
    out = np.empty((resamples, len(metrics)))
    bar = tqdm(
        total=resamples, desc="bootstrap", unit="resample", disable=not progress, mininterval=1
    )

    def fill(part: Array, draws: Sequence[tuple[Array, Array]]) -> None:
        copies, weights = (np.stack(column) for column in zip(*draws, strict=True))
        part[:] = _mean_differences(metrics, pairs, copies, weights)
        bar.update(len(part))

    # NumPy and PyTorch leave Python to other threads while they count.
    cores = available_cores()
    with bar, ThreadPoolExecutor(cores) as pool:
        for start in range(0, resamples, cores * _AT_ONCE):
            rows = out[start : start + cores * _AT_ONCE]
            parts = np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))
            drawn = [[_draw(rng, len(pairs), num_images) for _ in part] for part in parts]
            deque(pool.map(fill, parts, drawn), maxlen=0)  # raises what a thread raised
    return out


def _draw(rng: np.random.Generator, num_pairs: int, num_images: int) -> tuple[Array, Array]:
    """How often each seed pair and each image is drawn."""
    pairs = np.bincount(rng.integers(0, num_pairs, num_pairs), minlength=num_pairs)
    return pairs, np.bincount(rng.integers(0, num_images, num_images), minlength=num_images)


def _mean_differences(
    metrics: Sequence[Metric],
    pairs: Sequence[tuple[RunTables, RunTables]],
    copies: Array,
    image_weights: Array,
) -> Array:
    """(B, n) differences, meaned over (B, k) copies of the seed pairs."""
    total = np.zeros((len(copies), len(metrics)))
    for pair, drawn in zip(pairs, copies.T, strict=True):
        rows = np.flatnonzero(drawn)
        if len(rows):
            baseline, candidate = pair_metrics(metrics, *pair, image_weights[rows])
            total[rows] += drawn[rows, None] * (candidate - baseline)
    return total / len(pairs)
