"""Order by groups and score.

NumPy sorts bare integers many times as fast as it sorts floats, or the places of either. So what is
sorted is made one with its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ranges", "rank_in_group", "sorted_by_score", "stable_order"]

Array = NDArray[Any]


def stable_order(keys: Array) -> Array:
    """As a stable argsort of (n,) integers from 0 to at most 2^63 / n."""
    if keys.max(initial=0) < 1 << 16:
        return np.argsort(keys.astype(np.uint16), kind="stable")  # by their digits
    with_place = keys * len(keys)
    with_place += np.arange(len(keys))
    with_place.sort()
    with_place %= len(keys)
    return with_place


def sorted_by_score(score_rank: Array, *groups: Array) -> Array:
    """Indices by groups, the last given one first, and within them by falling score; stable.

    Args:
        score_rank: (n,) :attr:`.Detections.score_rank`.
        *groups: (n,) each, integers >= 0.
    """
    order = stable_order(score_rank)
    for group in groups:
        order = order.take(stable_order(group.take(order)))
    return order


def rank_in_group(key: Array) -> Array:
    """Place of every element among its equals; `key` is sorted."""
    place = np.arange(len(key))
    first = np.r_[True, np.diff(key) != 0][: len(key)]
    return place - np.maximum.accumulate(np.where(first, place, 0))


def ranges(starts: Array, lengths: Array) -> Array:
    """The integers from each start on, as many as its length, one range after the other."""
    shift = starts - (np.cumsum(lengths) - lengths)
    return np.arange(lengths.sum()) + np.repeat(shift, lengths)
