"""Which objects an anchor shape on a regular grid reaches, and with how many anchors.

Shape shorthand: G objects, L levels, S anchor shapes of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Coverage", "Level", "Shape"]

Array = NDArray[Any]
Shape = tuple[float, float]


@dataclass(frozen=True)
class Level:
    """Centres of a level's anchors: first one and distance, network-input pixels."""

    first: float
    step: float


class Coverage:
    """Objects on the grids of their images.

    The best IoU of a box with anchors of one shape is that at the nearest centre along x and along
    y, since both overlaps fall with the distance; so no anchor need be made.
    """

    def __init__(self, boxes: Array, levels: Sequence[Level], cells: Array, threshold: float):
        """Take the objects.

        Args:
            boxes: (G, 4) XYXY, network-input pixels.
            levels: L levels.
            cells: (G, L, 2) number of cells along x and y on each level of the object's image.
            threshold: IoU from which an anchor matches.
        """
        self.sides = boxes[:, 2:] - boxes[:, :2]
        self.centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        self.levels, self.cells, self.threshold = tuple(levels), cells, threshold
        self._known: dict[tuple[int, Shape], tuple[Array, Array]] = {}

    def __len__(self) -> int:
        return len(self.sides)

    def best_iou(self, level: int, shape: Shape) -> Array:
        """(G,) best IoU of each object with the anchors of one shape at a level."""
        index = self._nearest(level)
        overlap = self._overlaps(level, shape, index).prod(axis=-1)
        return overlap / self._area_sum(shape, overlap)

    def matches(self, level: int, shape: Shape) -> tuple[Array, Array]:
        """(G,) whether each object is reached, and (G,) int32 by how many anchors."""
        key = (level, shape)
        if key not in self._known:
            reached = self.best_iou(level, shape) >= self.threshold
            counts = np.zeros(len(self), dtype=np.int32)
            if reached.any():
                counts[reached] = self._count(level, shape, np.flatnonzero(reached))
            self._known[key] = reached, counts
        return self._known[key]

    def _count(self, level: int, shape: Shape, rows: Array) -> Array:
        """Anchors that reach each of some objects, all of which one reaches at least."""
        sides, step = self.sides[rows], self.levels[level].step
        # overlap >= t / (1 + t) of the areas' sum; along one axis that bounds the distance.
        needed = self.threshold / (1 + self.threshold) * (sides.prod(axis=1) + np.prod(shape))
        most = np.minimum(sides, shape)
        room = (sides + shape) / 2 - (needed / most[:, ::-1].T).T
        reach = int(np.ceil(max(room.max(), 0) / step)) + 1
        offsets = np.arange(-reach, reach + 1)
        index = self._nearest(level)[rows, None, :] + offsets[None, :, None]
        overlap = self._overlaps(level, shape, index, rows)
        inside = (index >= 0) & (index < self.cells[rows, level][:, None, :])
        overlap = np.where(inside, overlap, 0)
        area = overlap[:, :, None, 0] * overlap[:, None, :, 1]
        union = self._area_sum(shape, area, rows)
        return (area >= self.threshold * union).sum(axis=(1, 2))

    def _nearest(self, level: int) -> Array:
        first, step = self.levels[level].first, self.levels[level].step
        index = np.rint((self.centres - first) / step).astype(np.int64)
        return index.clip(0, self.cells[:, level] - 1)

    def _overlaps(
        self, level: int, shape: Shape, index: Array, rows: Array | slice = slice(None)
    ) -> Array:
        """Overlap along x and y with the anchors at some cells; `index` ends in 2."""
        first, step = self.levels[level].first, self.levels[level].step
        extra = (1,) * (index.ndim - 2)
        centres = self.centres[rows].reshape(-1, *extra, 2)
        sides = self.sides[rows].reshape(-1, *extra, 2)
        distance = np.abs(index * step + first - centres)
        overlap = np.minimum((sides + shape) / 2 - distance, np.minimum(sides, shape))
        return overlap.clip(min=0)

    def _area_sum(self, shape: Shape, overlap: Array, rows: Array | slice = slice(None)) -> Array:
        areas = self.sides[rows].prod(axis=1) + np.prod(shape)
        return areas.reshape(-1, *(1,) * (overlap.ndim - 1)) - overlap
