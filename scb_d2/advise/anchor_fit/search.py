"""Choose among candidates one free value at a time, until none of them helps any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .coverage import Coverage, Shape

__all__ = ["Fit", "Layout", "Slot", "fit"]

Array = NDArray[Any]
_MOST_SWEEPS = 12
_LEAST_EVENER = 1e-4


@dataclass(frozen=True)
class Slot:
    """One free value of a design.

    Attributes:
        level: of the anchors that it makes.
        candidates: what it may be.
        shapes: (width, height) of the anchors that each candidate makes per cell.
    """

    level: int
    candidates: tuple[Any, ...]
    shapes: tuple[tuple[Shape, ...], ...]


class Layout(Protocol):
    """What a kind of anchor generator lets one choose."""

    slots: list[Slot]
    start: list[int]

    def allowed(self, slot: int, choice: Sequence[int]) -> Array:
        """(C,) bool, candidates of a slot that go with what the others are."""


@dataclass(frozen=True)
class Fit:
    """A design and what it reaches.

    Attributes:
        choice: index of the candidate of every slot.
        reached: objects that reach the threshold with some anchor.
        spread: standard deviation of ln M over the objects, M at least 1.
    """

    choice: tuple[int, ...]
    reached: int
    spread: float

    def better_than(self, other: Fit | None) -> bool:
        """Whether it reaches more objects, or as many more evenly."""
        if other is None or self.reached != other.reached:
            return other is None or self.reached > other.reached
        return self.spread < other.spread - _LEAST_EVENER


def fit(coverage: Coverage, layout: Layout) -> Fit:
    """Improve a layout's start slot by slot: most objects reached, then most even M.

    Anchors compete for objects in a matcher; here each counts for every object that it reaches.

    Args:
        coverage: of the objects.
        layout: with at least one slot.
    """
    tables = [_table(coverage, slot) for slot in _different(layout.slots)]
    tables = [tables[i] for i in _places(layout.slots)]
    choice = list(layout.start)
    reached = sum(t[0][c] for t, c in zip(tables, choice, strict=True))
    matches = sum(t[1][c] for t, c in zip(tables, choice, strict=True))
    now = Fit(tuple(choice), int((reached > 0).sum()), float(_spread(matches)))
    for _ in range(_MOST_SWEEPS):
        before = now
        for i, (reach, match) in enumerate(tables):
            others, rest = reached - reach[choice[i]], matches - match[choice[i]]
            allowed = np.flatnonzero(layout.allowed(i, choice))
            hits = ((others + reach[allowed]) > 0).sum(axis=1)
            top = allowed[hits == hits.max()]
            spread = _spread(rest + match[top])
            best = int(top[np.argmin(spread)])
            found = Fit((*choice[:i], best, *choice[i + 1 :]), int(hits.max()), spread.min())
            if found.better_than(now):
                choice, now = list(found.choice), found
                reached, matches = others + reach[best], rest + match[best]
        if now is before:
            break
    return now


def _table(coverage: Coverage, slot: Slot) -> tuple[Array, Array]:
    """(C, G) number of shapes that reach each object, and anchors that do, by candidate."""
    reach = np.zeros((len(slot.candidates), len(coverage)), dtype=np.int16)
    match = np.zeros((len(slot.candidates), len(coverage)), dtype=np.int32)
    for c, shapes in enumerate(slot.shapes):
        for shape in shapes:
            reached, counts = coverage.matches(slot.level, shape)
            reach[c] += reached
            match[c] += counts
    return reach, match


def _different(slots: Sequence[Slot]) -> list[Slot]:
    return list({id(slot.shapes): slot for slot in slots}.values())


def _places(slots: Sequence[Slot]) -> list[int]:
    number = {id(slot.shapes): i for i, slot in enumerate(_different(slots))}
    return [number[id(slot.shapes)] for slot in slots]


def _spread(matches: Array) -> Any:
    return np.log(np.maximum(matches, 1)).std(axis=-1)
