"""What a value of an annotation file means, however it is spelt.

Each function returns None for a value that has no plain meaning; the caller says where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LARGEST_INTEGER",
    "Ids",
    "box_of",
    "entry_id",
    "flag",
    "id_order",
    "is_number",
    "number",
]

# Whole numbers beyond this are no coordinates, and floats cannot hold them.
LARGEST_INTEGER = 2**53

_FALSE = frozenset({"", "0", "false", "no", "none", "null"})
_TRUE = frozenset({"1", "true", "yes"})


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, as JSON writes it; a bool is none."""
    # Not isinstance: bool is an int, and this runs for each coordinate of a data set.
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    return kind is int and -LARGEST_INTEGER < value < LARGEST_INTEGER


def number(value: Any) -> int | float | None:
    """A finite number, or the one that a text spells."""
    if is_number(value):
        return value
    if not isinstance(value, str):
        return None
    try:
        spelt = float(value)
    except ValueError:
        return None
    if not is_number(spelt):
        return None
    return int(spelt) if spelt.is_integer() and value.strip().lstrip("+-").isdigit() else spelt


def flag(value: Any) -> int | None:
    """0 or 1 of a flag: null, false, 0.0 and "0" are 0; true, 1.0 and "1" are 1."""
    if value is None:
        return 0
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _FALSE | _TRUE:
            return int(word in _TRUE)
        value = number(value)
    return int(value) if isinstance(value, int | float) and value in (0, 1) else None


def box_of(value: Any) -> list[int | float] | None:
    """Four finite numbers, as they are; those that texts spell."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    numbers = [number(side) for side in value]
    return None if None in numbers else numbers


def entry_id(value: Any) -> int | str | None:
    """An id: whole numbers of any spelling but text (1.0 and true are 1), or text."""
    if isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, int | float) and float(value).is_integer():
        return int(value)
    return None


def id_order(key: int | str) -> tuple[bool, int | str]:
    """Sort key of ids: numbers before text, texts of digits by their number."""
    if isinstance(key, str):
        return (False, int(key)) if key.isdecimal() else (True, key)
    return False, key


class Ids:
    """Index of ids, in which an entry may be referred to by another spelling of its id."""

    def __init__(self, ids: Iterable[int | str]) -> None:
        self._index = {key: n for n, key in enumerate(ids)}
        numbers = ((number(key), n) for key, n in self._index.items() if isinstance(key, str))
        self._spelt = {key: n for key, n in numbers if key is not None}
        self.respelt = False
        """Whether a reference was found under another spelling."""

    def __len__(self) -> int:
        return len(self._index)

    def find_all(self, values: list[Any]) -> NDArray[np.int64] | None:
        """Indices of references that are all equal to the entries' ids; None where not all are."""
        try:
            return np.fromiter(map(self._index.get, values), np.int64, len(values))
        except TypeError:  # None, or a value that has no hash
            return None

    def find(self, value: Any) -> int | None:
        """Index of the entry that a reference means: its id, or the same number as text."""
        if type(value) in (int, str):
            found = self._index.get(value)
            if found is not None:
                return found
        key = entry_id(value)
        if key is None:
            return None
        if isinstance(key, str) and key not in self._index:
            key = number(key)
        found = self._index.get(key)
        if found is None:
            found = self._spelt.get(key)
        self.respelt |= found is not None
        return found
