"""Intervals and verdicts over training seeds: paired t, two-level bootstrap, Holm's adjustment.

The unit of replication is the training seed, paired between the arms. Single runs differ by 1-2 AP
and more, so one seed per arm cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["MetricComparison", "compare_metric", "holm", "paired_t"]

Array = NDArray[Any]

BETTER, WORSE = "candidate better", "candidate worse"
OPEN, ONE_SEED = "no difference shown", "cannot tell"


@dataclass(frozen=True)
class MetricComparison:
    """One metric compared between two arms; differences are candidate minus baseline.

    Attributes:
        baseline, candidate: k values, by seed pair.
        t_interval: paired Student t over the seed pairs; None below two pairs.
        bootstrap_interval: percentiles of the two-level bootstrap; None without one.
        interval: the wider of the two, which the verdict uses.
        p_value: the larger of the t test's and of the bootstrap's, normal with its standard error;
            None below two pairs.
        adjusted_p: after Holm's adjustment; None for the primary metric, which needs none.
        verdict: in words.
    """

    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    t_interval: tuple[float, float] | None
    bootstrap_interval: tuple[float, float] | None
    interval: tuple[float, float] | None
    p_value: float | None
    adjusted_p: float | None = None
    verdict: str = ONE_SEED

    @property
    def difference(self) -> float:
        """Mean difference."""
        return float(np.mean(self.differences))

    @property
    def differences(self) -> Array:
        """(k,) differences, by seed pair."""
        return np.subtract(self.candidate, self.baseline)

    def judged(self, confidence: float, adjusted_p: float | None = None) -> MetricComparison:
        """The same with the verdict.

        Args:
            confidence: of the interval.
            adjusted_p: Holm's p-value, which must not exceed 1 - confidence beside the interval
                leaving out 0; None for the primary metric, which the interval alone decides.
        """
        verdict = ONE_SEED
        if self.p_value is not None and self.interval is not None:
            low, high = self.interval
            shown = adjusted_p is None or adjusted_p <= 1 - confidence + 1e-12
            verdict = OPEN
            if shown and (low > 0 or high < 0):
                verdict = BETTER if low > 0 else WORSE
        return replace(self, adjusted_p=adjusted_p, verdict=verdict)


def paired_t(
    differences: Sequence[float] | Array, confidence: float = 0.95
) -> tuple[tuple[float, float], float] | None:
    """Student's paired t interval and two-sided p-value.

    Returns:
        ((low, high), p), or None below two differences. Without any spread the interval is the
        mean itself, p 0 (1 where the mean is 0).
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    if error == 0:
        return (float(mean), float(mean)), float(mean == 0)
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * error
    p_value = 2 * stats.t.sf(abs(mean) / error, len(values) - 1)
    return (float(mean - half), float(mean + half)), float(p_value)


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
    """Both intervals of one metric, without verdict: see :meth:`MetricComparison.judged`.

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
        bootstrap = tuple(float(value) for value in np.quantile(kept, (tail, 1 - tail)))
        if p_value is not None:
            # Counting resamples beyond 0 could not go below 2 / B, which Holm multiplies.
            error = kept.std(ddof=1) if len(kept) > 1 else np.inf
            z = abs(differences.mean()) / error if error else np.inf
            p_value = max(p_value, float(2 * stats.norm.sf(z)))
    known = [interval for interval in (t_interval, bootstrap) if interval is not None]
    return MetricComparison(
        baseline=tuple(map(float, baseline)),
        candidate=tuple(map(float, candidate)),
        t_interval=t_interval,
        bootstrap_interval=bootstrap,
        interval=max(known, key=lambda pair: pair[1] - pair[0]) if known else None,
        p_value=p_value,
    )
