"""Verdicts over the comparisons of a plan: one is confirmatory, all others are adjusted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .intervals import MetricComparison, holm

__all__ = ["BETTER", "ONE_SEED", "OPEN", "VERDICT_RULE", "WORSE", "Verdict", "judge"]

BETTER, WORSE = "candidate better", "candidate worse"
OPEN, ONE_SEED = "no difference shown", "cannot tell"
VERDICT_RULE = (
    "the hull of the paired t interval over seeds and the two-level bootstrap (seed pairs, then "
    "images) decides: the candidate is better or worse where it leaves out 0. That is all for the "
    "primary metric of the confirmatory comparison. Elsewhere a p-value (the larger of the two "
    "tests) of at most 1 - confidence after Holm's adjustment is needed too: primary metrics are "
    "adjusted over the other comparisons of the plan, further metrics over all of them. Below two "
    "seed pairs, or where all pairs differ by the same number, nothing can be told"
)

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Verdict:
    """What is said of a metric.

    Attributes:
        text: one of the four sentences of this module.
        adjusted_p: after Holm's adjustment; None where none is needed or no p-value is known.
    """

    text: str
    adjusted_p: float | None = None


def judge(
    comparisons: Mapping[Name, Mapping[str, MetricComparison]],
    *,
    primary: str,
    confirmatory: Name,
    confidence: float = 0.95,
) -> dict[Name, dict[str, Verdict]]:
    """Judge all comparisons of a plan.

    Args:
        comparisons: by name, the judged metrics by name, the primary one among them.
        primary: name of the primary metric.
        confirmatory: which comparison needs no adjustment of its primary metric.
        confidence: of the intervals.
    """
    cells = [(name, metric) for name, table in comparisons.items() for metric in table]
    primaries = [c for c in cells if c[1] == primary and c[0] != confirmatory]
    others = [c for c in cells if c[1] != primary]
    adjusted: dict[tuple[Name, str], float] = {}
    for family in (primaries, others):
        known = [comparisons[name][metric].p_value for name, metric in family]
        p_values = holm([np.nan if p is None else p for p in known])
        adjusted |= dict(zip(family, p_values, strict=True))
    return {
        name: {
            metric: _verdict(compared, adjusted.get((name, metric)), confidence)
            for metric, compared in table.items()
        }
        for name, table in comparisons.items()
    }


def _verdict(compared: MetricComparison, adjusted_p: float | None, confidence: float) -> Verdict:
    interval = compared.interval
    if interval is None or compared.p_value is None:
        return Verdict(ONE_SEED)
    low, high = interval
    text = OPEN
    # The small term keeps p = 0.05 at a confidence of 0.95, which is 0.04999... as a difference.
    if adjusted_p is None or adjusted_p <= 1 - confidence + 1e-12:
        text = BETTER if low > 0 else WORSE if high < 0 else OPEN
    return Verdict(text, adjusted_p)
