"""Intervals over training seeds: paired t and two-level bootstrap; Holm's adjustment.

The unit of replication is the training seed, paired between the arms. Single runs differ by 1-2 AP
and more, so one seed per arm cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["MetricComparison", "compare_metric", "detectable_difference", "holm", "paired_t"]

Array = NDArray[Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class MetricComparison:
    """One metric compared between two arms; differences are candidate minus baseline.

    Attributes:
        baseline, candidate: k values, by seed pair.
        t_interval: paired Student t over the seed pairs; None where they cannot tell (fewer than
            two, or the same difference in all of them).
        bootstrap_interval: percentiles of the two-level bootstrap; None without one. Alone it
            covers too little with few seeds, so it only ever widens the t interval.
        p_value: the larger of the t test's and of the bootstrap's, normal with its standard error;
            None where `t_interval` is.
    """

    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    t_interval: Interval | None
    bootstrap_interval: Interval | None
    p_value: float | None

    @property
    def interval(self) -> Interval | None:
        """The hull of both intervals; None where there is no t interval."""
        if self.t_interval is None or self.bootstrap_interval is None:
            return self.t_interval
        (t_low, t_high), (low, high) = self.t_interval, self.bootstrap_interval
        return min(t_low, low), max(t_high, high)

    @property
    def difference(self) -> float:
        """Mean difference."""
        return float(np.mean(self.differences))

    @property
    def differences(self) -> Array:
        """(k,) differences, by seed pair."""
        return np.subtract(self.candidate, self.baseline)


def paired_t(
    differences: Sequence[float] | Array, confidence: float = 0.95
) -> tuple[Interval, float] | None:
    """Student's paired t interval and two-sided p-value.

    Returns:
        ((low, high), p). None below two differences, and where all are the same number other than
        0: without spread there is nothing to measure them by. All 0 give ((0, 0), 1).
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    if np.ptp(values) <= 1e-9 * max(1.0, float(np.abs(values).max())):
        return None if abs(values[0]) > 1e-9 else ((0.0, 0.0), 1.0)
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(confidence)
    return (float(low), float(high)), float(test.pvalue)


def detectable_difference(
    differences: Sequence[float] | Array, power: float = 0.8, confidence: float = 0.95
) -> float | None:
    """The smallest true difference that as many seeds would have shown with this power.

    The two-sided paired t test at the spread of these differences, by the noncentral t
    distribution (neglecting the other tail).

    Returns:
        A size >= 0 in the unit of the differences; None below two of them.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    critical = stats.t.ppf(0.5 + confidence / 2, freedom)
    low, high = critical, 2 * critical
    while stats.nct.sf(critical, freedom, high) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        shown = stats.nct.sf(critical, freedom, middle)
        low, high = (middle, high) if shown < power else (low, middle)
    return float(high * values.std(ddof=1) / np.sqrt(len(values)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given; NaN stays and counts for nothing."""
    values = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return adjusted.tolist()


def compare_metric(
    baseline: Sequence[float],
    candidate: Sequence[float],
    resampled: Array | None,
    confidence: float = 0.95,
) -> MetricComparison:
    """Both intervals of one metric.

    Args:
        baseline: k values, by seed pair.
        candidate: k values, in the same order.
        resampled: (B,) mean differences of the bootstrap; NaN, where a resample had no such
            object, are left out.
        confidence: of the intervals, in (0, 1).
    """
    differences = np.subtract(candidate, baseline)
    test = paired_t(differences, confidence) if np.isfinite(differences).all() else None
    t_interval, p_value = test or (None, None)
    bootstrap = None
    if resampled is not None and np.isfinite(resampled).any():
        kept = resampled[np.isfinite(resampled)]
        tail = (1 - confidence) / 2
        low, high = np.quantile(kept, (tail, 1 - tail))
        bootstrap = float(low), float(high)
        error = kept.std(ddof=1) if len(kept) > 1 else 0.0
        if p_value is not None and error > 0:
            # Counting resamples beyond 0 could not go below 2 / B, which Holm multiplies.
            p_value = max(p_value, float(2 * stats.norm.sf(abs(differences.mean()) / error)))
    return MetricComparison(
        baseline=tuple(map(float, baseline)),
        candidate=tuple(map(float, candidate)),
        t_interval=t_interval,
        bootstrap_interval=bootstrap,
        p_value=p_value,
    )
