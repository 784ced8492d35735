"""What may be chosen: sizes and ratios of Detectron2's generator, SSD's lists per level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coverage import Coverage, Level, Shape
from .search import Fit, Slot, fit

__all__ = ["fit_ssd", "fit_uniform", "rounded"]

Array = NDArray[Any]
_SMALLEST, _LARGEST = 1.0, 10.0  # sizes of a level, in steps between its cells
_PER_OCTAVE = 6
_MOST_RATIOS = 5
_LEAST_APART = 1.25  # times, neighbouring ratios
_SSD_RATIOS = (1.5, 2.0, 2.5, 3.0, 4.0)


def fit_uniform(
    coverage: Coverage, sizes: Sequence[Sequence[float]], ratios: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """Sizes per level and shared ratios for a head that is shared over the levels.

    Every level gets the same number of anchors per cell, no more than today.

    Args:
        coverage: of the objects.
        sizes: today's, one list per level.
        ratios: today's, height / width.

    Returns:
        Sizes per level, and ratios.
    """
    most = len(sizes[0]) * len(ratios)
    best: tuple[Fit, _Uniform] | None = None
    for own_ratios in _ratio_sets(coverage, ratios, most):
        count = most // len(own_ratios)
        starts = [_geometric(coverage.levels, count, first) for first in (2.0, 4.0)]
        if list(own_ratios) == list(ratios):
            starts.append([list(level) for level in sizes])
        for start in starts:
            layout = _Uniform(coverage.levels, start, own_ratios)
            found = fit(coverage, layout)
            if best is None or found.better_than(best[0]):
                best = found, layout
    found, layout = best
    return layout.sizes(found.choice), list(layout.ratios)


def fit_ssd(
    coverage: Coverage,
    min_sizes: Sequence[float],
    max_sizes: Sequence[float],
    ratios: Sequence[Sequence[float]],
) -> tuple[list[float], list[float], list[list[float]]]:
    """SSD's lists, with as many anchors per cell of each level as today.

    Args:
        coverage: of the objects.
        min_sizes: today's ``MIN_SIZES``.
        max_sizes: today's ``MAX_SIZES``, may be empty.
        ratios: today's ``ASPECT_RATIOS``.

    Returns:
        ``MIN_SIZES``, ``MAX_SIZES`` and ``ASPECT_RATIOS``.
    """
    layout = _SSD(coverage.levels, min_sizes, max_sizes, ratios)
    return layout.lists(fit(coverage, layout).choice)


class _Uniform:
    """One slot per size; sizes of a level differ."""

    def __init__(
        self, levels: Sequence[Level], start: Sequence[Sequence[float]], ratios: Sequence[float]
    ):
        self.ratios = tuple(ratios)
        self.counts = [len(level) for level in start]
        self.slots: list[Slot] = []
        self.start: list[int] = []
        for number, (level, own) in enumerate(zip(levels, start, strict=True)):
            candidates = tuple(sorted({*_sizes(level), *own}))
            shapes = tuple(tuple(_shape(size, r) for r in self.ratios) for size in candidates)
            self.slots += [Slot(number, candidates, shapes) for _ in own]
            self.start += [candidates.index(size) for size in own]

    def allowed(self, slot: int, choice: Sequence[int]) -> Array:
        mask = np.ones(len(self.slots[slot].candidates), dtype=bool)
        level = self.slots[slot].level
        taken = [c for i, c in enumerate(choice) if i != slot and self.slots[i].level == level]
        mask[taken] = False
        return mask

    def sizes(self, choice: Sequence[int]) -> list[list[float]]:
        values = [s.candidates[c] for s, c in zip(self.slots, choice, strict=True)]
        ends = np.cumsum([0, *self.counts]).tolist()
        return [sorted(values[a:b]) for a, b in pairwise(ends)]


class _SSD:
    """A slot for the small square with the ratios per level, and one for the big square."""

    def __init__(
        self,
        levels: Sequence[Level],
        min_sizes: Sequence[float],
        max_sizes: Sequence[float],
        ratios: Sequence[Sequence[float]],
    ):
        self.slots: list[Slot] = []
        self.start: list[int] = []
        self.has_max = bool(max_sizes)
        for number, (level, size, own) in enumerate(zip(levels, min_sizes, ratios, strict=True)):
            sets = {tuple(sorted(c)) for c in combinations(_SSD_RATIOS, len(own))}
            sets = sorted({*sets, tuple(own)})
            small = tuple((s, r) for s in sorted({*_sizes(level), size}) for r in sets)
            self._add(number, small, [_small_shapes(*c) for c in small], (size, tuple(own)))
            if self.has_max:
                big = math.sqrt(size * max_sizes[number])
                squares = tuple(sorted({*_sizes(level), big}))
                self._add(number, squares, [((s, s),) for s in squares], big)

    def _add(self, level: int, candidates: tuple, shapes: list, today: Any) -> None:
        self.slots.append(Slot(level, candidates, tuple(shapes)))
        self.start.append(candidates.index(today))

    def allowed(self, slot: int, choice: Sequence[int]) -> Array:
        candidates = self.slots[slot].candidates
        if not self.has_max:
            return np.ones(len(candidates), dtype=bool)
        if slot % 2 == 0:
            big = self.slots[slot + 1].candidates[choice[slot + 1]]
            return np.array([size < big for size, _ in candidates])
        small, _ = self.slots[slot - 1].candidates[choice[slot - 1]]
        return np.array([size > small for size in candidates])

    def lists(self, choice: Sequence[int]) -> tuple[list[float], list[float], list[list[float]]]:
        values = [s.candidates[c] for s, c in zip(self.slots, choice, strict=True)]
        small = values[::2] if self.has_max else values
        squares = values[1::2] if self.has_max else []
        minima = [size for size, _ in small]
        maxima = [round(big**2 / size, 2) for big, size in zip(squares, minima, strict=False)]
        return minima, maxima, [list(r) for _, r in small]


def rounded(size: float) -> float:
    """A size as one would write it."""
    return round(size, 1) if size < 16 else float(round(size))


def _sizes(level: Level) -> list[float]:
    octaves = math.log2(_LARGEST / _SMALLEST)
    steps = range(int(octaves * _PER_OCTAVE) + 1)
    return [rounded(_SMALLEST * level.step * 2 ** (i / _PER_OCTAVE)) for i in steps]


def _geometric(levels: Sequence[Level], count: int, first: float) -> list[list[float]]:
    """Sizes that fill an octave of each level from `first` steps on."""
    return [
        [rounded(first * level.step * 2 ** (i / count)) for i in range(count)] for level in levels
    ]


def _shape(size: float, ratio: float) -> Shape:
    """(width, height) of Detectron2's anchor of a size and a ratio height / width."""
    return size / math.sqrt(ratio), size * math.sqrt(ratio)


def _small_shapes(size: float, ratios: Sequence[float]) -> tuple[Shape, ...]:
    """SSD's small square and its elongated relatives, both ways."""
    sides = [(size * math.sqrt(r), size / math.sqrt(r)) for r in ratios]
    return ((size, size), *sides, *((h, w) for w, h in sides))


def _ratio_sets(coverage: Coverage, today: Sequence[float], most: int) -> list[tuple[float, ...]]:
    """Sets of ratios worth trying: today's, Detectron2's own, and centres of the data's."""
    logs = np.log(coverage.sides[:, 1] / coverage.sides[:, 0])
    sets = [tuple(today), (1.0,), (0.5, 1.0, 2.0)]
    sets += [_centres(logs, count) for count in range(1, _MOST_RATIOS + 1)]
    apart = [s for s in sets[3:] if all(b / a >= _LEAST_APART for a, b in pairwise(s))]
    return [s for s in dict.fromkeys([*sets[:3], *apart]) if len(s) <= most]


def _centres(values: Array, count: int) -> tuple[float, ...]:
    """Centres of `count` clusters of log ratios by k-means, as ratios."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(30):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        means = [
            values[nearest == i].mean() if (nearest == i).any() else c
            for i, c in enumerate(centres)
        ]
        if np.allclose(means, centres):
            break
        centres = np.array(means)
    return tuple(sorted({round(float(np.exp(c)), 2) for c in centres}))
