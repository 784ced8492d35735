"""Two things run in turn in one process, compared by the median of their ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Ratio", "compare", "peak_memory_of", "seconds"]


@dataclass
class Ratio:
    """One line of the table.

    Attributes:
        name: what is measured.
        candidate: median of the first of the two, in ``unit``.
        reference: median of the second.
        unit: of both.
        ratio: median over pairs of candidate / reference.
        low: lower end of the 95 % interval of that median (percentile bootstrap over pairs).
        high: its upper end.
        pairs: number of pairs.
        target: largest ratio aimed at, where there is one.
    """

    name: str
    candidate: float
    reference: float
    unit: str
    ratio: float
    low: float
    high: float
    pairs: int
    target: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The values for JSON."""
        return asdict(self)


def seconds(function: Callable[[], Any], device: str = "cpu") -> float:
    """Wall-clock seconds of one call, the device's work included."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    name: str,
    candidate: Callable[[], Any],
    reference: Callable[[], Any],
    pairs: int,
    device: str = "cpu",
    target: float | None = None,
) -> Ratio:
    """Time both in turn, after one call of each to warm up; which goes first alternates."""
    candidate(), reference()
    rows = []
    for index in range(pairs):
        if index % 2:
            second, first = seconds(reference, device), seconds(candidate, device)
        else:
            first, second = seconds(candidate, device), seconds(reference, device)
        rows.append((first, second))
    return from_pairs(name, rows, "s", target)


def from_pairs(
    name: str, rows: Sequence[tuple[float, float]], unit: str, target: float | None = None
) -> Ratio:
    """A table line from pairs (candidate, reference)."""
    ratios = np.array([first / second for first, second in rows])
    picks = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return Ratio(
        name,
        statistics.median(first for first, _ in rows),
        statistics.median(second for _, second in rows),
        unit,
        float(np.median(ratios)),
        float(low),
        float(high),
        len(rows),
        target,
    )


def peak_memory_of(code: str) -> float:
    """Peak resident MB of a fresh process that runs ``code``, on one thread (Linux)."""
    # getrusage would count what the parent held when the process was made.
    report = "print(next(x.split()[1] for x in open('/proc/self/status') if 'VmHWM' in x))"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{code}\n{report}"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return float(run.stdout.split()[-1]) / 1024
