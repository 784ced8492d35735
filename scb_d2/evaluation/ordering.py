"""Order by groups and score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rank_in_group", "sorted_by_score"]

Array = NDArray[Any]


def sorted_by_score(scores: Array, *groups: Array) -> Array:
    """Indices by groups, the last given one first, and within them by falling score; stable.

    Args:
        scores: (n,).
        *groups: (n,) each, integers >= 0.
    """
    order = np.argsort(-scores, kind="stable")
    for group in groups:
        # NumPy sorts small integers by their digits, nine times as fast as large ones.
        small = group.astype(np.uint16) if group.max(initial=0) < 1 << 16 else group
        order = order[np.argsort(small[order], kind="stable")]
    return order


def rank_in_group(key: Array) -> Array:
    """Place of every element among its equals; `key` is sorted."""
    place = np.arange(len(key))
    first = np.r_[True, np.diff(key) != 0][: len(key)]
    return place - np.maximum.accumulate(np.where(first, place, 0))
