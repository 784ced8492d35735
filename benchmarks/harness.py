"""Two things run in turn in one process, compared by the median of their ratios."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = [
    "Ratio",
    "allocated_mb",
    "compare",
    "extra_peak_mb",
    "from_pairs",
    "peak_memory_of",
    "printed_by",
    "seconds",
]

_SHORTEST = 0.005  # seconds of a measurement; shorter calls are made several times in a row


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
        rule: when the target is met: ``most``, the ratio is at most that; ``interval``, its
            interval includes or lies below that; ``equal``, the ratio is that.
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
    rule: str = "most"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        if self.rule == "equal":
            return self.ratio == self.target
        return (self.low if self.rule == "interval" else self.ratio) <= self.target

    def as_dict(self) -> dict[str, Any]:
        """The values for JSON."""
        return asdict(self) | {"met": self.met}


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
    rule: str = "most",
    in_a_row: bool = True,
) -> Ratio:
    """Time both in turn; which goes first alternates.

    One call of each warms up, or is the first pair where they take so long that it hardly matters.
    A short function is called several times in a row, and the mean is taken, unless ``in_a_row``
    is False: then single calls are timed, the candidate's always after the reference.
    """
    first, second = seconds(candidate, device), seconds(reference, device)
    rows = [(first, second)] if first + second > 5 else []
    if in_a_row:
        candidate = _lengthened(candidate, first, device)
        reference = _lengthened(reference, second, device)
    else:
        candidate, reference = (partial(seconds, f, device) for f in (candidate, reference))
    for index in range(len(rows), pairs):
        if index % 2 or not in_a_row:
            second, first = reference(), candidate()
        else:
            first, second = candidate(), reference()
        rows.append((first, second))
    return from_pairs(name, rows, "s", target, rule)


def _lengthened(function: Callable[[], Any], once: float, device: str) -> Callable[[], float]:
    """Measures mean seconds of as many calls in a row as are long enough; one took ``once``."""
    calls = math.ceil(min(100, _SHORTEST / once))

    def repeat() -> None:
        for _ in range(calls):
            function()

    return lambda: seconds(repeat, device) / calls


def from_pairs(
    name: str,
    rows: Sequence[tuple[float, float]],
    unit: str,
    target: float | None = None,
    rule: str = "most",
) -> Ratio:
    """A table line from pairs (candidate, reference)."""
    ratios = np.array([_ratio(first, second) for first, second in rows])
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
        rule,
    )


def _ratio(first: float, second: float) -> float:
    if second:
        return first / second
    return math.inf if first else 1.0  # nothing against nothing is as much


def allocated_mb(function: Callable[[], Any]) -> float:
    """Peak MB that PyTorch holds on the GPU during one call, beyond what it held before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def extra_peak_mb(function: Callable[[], Any]) -> float:
    """Peak resident MB during one call beyond what is resident before it (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status_mb("VmRSS")
    function()
    return _status_mb("VmHWM") - before


def peak_memory_of(code: str) -> float:
    """Peak resident MB of a fresh process that runs ``code``, on one thread (Linux)."""
    # getrusage would count what the parent held when the process was made.
    report = "from benchmarks.harness import _status_mb; print(_status_mb('VmHWM'))"
    return float(printed_by(f"{code}\n{report}"))


def printed_by(code: str) -> str:
    """The last line that a fresh process prints, on one thread."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return run.stdout.splitlines()[-1]


def _status_mb(key: str) -> float:
    """A value of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024
