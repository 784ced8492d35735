"""The matches of an image's objects from the anchors near them: the labels of training, faster.

On every feature level the anchors of one shape form a grid: their left and right sides depend on
the column alone, top and bottom on the row. So the overlap of a box with all of them is the product
of a width for each column and a height for each row. Only where this product can reach the
threshold, or the best IoU that the box has with any anchor, is IoU worked out, by the float
operations of :func:`detectron2.structures.pairwise_iou`, so that labels and counts are those of the
whole table to the bit.

Shape shorthand: G objects, R anchors, L levels, S grids (a level and a shape), X columns and Y rows
of all grids together, P pairs of an object and an anchor near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from detectron2.modeling.matcher import Matcher
from numpy.typing import NDArray

from scb_d2.loss.scale_balanced_matcher import ScaleBalancedMatcher

__all__ = ["AnchorGrids", "NearMatches", "NearRule", "match_near"]

Array = NDArray[Any]

_SLACK = 1e-3  # by which overlaps are looked at more closely than they need to be
_SAME_SHAPE = 1e-4  # by which the sides of a grid's anchors may differ by rounding, far less
_OBJECTS_AT_ONCE = 256


class NearRule(NamedTuple):
    """What a matcher does, where anchors far from all objects can never be positive.

    Attributes:
        threshold: IoU from which an anchor is positive, > 0.
        low_quality: ``"stock"``, ``"reassign"`` or ``"off"``.
    """

    threshold: float
    low_quality: str

    @classmethod
    def of(cls, matcher: object) -> NearRule | None:
        """The rule of Detectron2's matcher or of ours; None for any other or unusual thresholds."""
        if type(matcher) not in (Matcher, ScaleBalancedMatcher):
            return None
        threshold = matcher.thresholds[-2]
        if matcher.labels[-1] != 1 or 1 in matcher.labels[:-1] or not 0 < threshold <= 1:
            return None
        if not matcher.allow_low_quality_matches:
            return cls(float(threshold), "off")
        return cls(float(threshold), getattr(matcher, "low_quality", "stock"))


class AnchorGrids(NamedTuple):
    """The anchors of one input size as grids.

    Attributes:
        boxes: (R, 4) float32.
        x1, x2: (X,) sides of the columns, grid by grid; ``y1``, ``y2``: (Y,) those of the rows.
        column_grid, row_grid: the grid of each.
        column_step, row_step: what each adds to the index of an anchor.
        area: (S,) of the anchors of a grid, up to rounding.
    """

    boxes: Array
    x1: Array
    x2: Array
    y1: Array
    y2: Array
    column_grid: Array
    row_grid: Array
    column_step: Array
    row_step: Array
    area: Array

    @classmethod
    def of(
        cls, boxes: Array, level_starts: Sequence[int], grid_sizes: Sequence[tuple[int, int]]
    ) -> AnchorGrids | None:
        """Find the grids.

        Args:
            boxes: (R, 4) float32, of every level row by row, then column by column, then shape by
                shape, as Detectron2's generator gives them.
            level_starts: (L + 1,) where each level begins, and R.
            grid_sizes: (height, width) of each level.

        Returns:
            None where the anchors are not such grids.
        """
        columns, rows, areas = [], [], []
        for (start, end), (height, width) in zip(pairwise(level_starts), grid_sizes, strict=True):
            cells = height * width
            if not cells or end == start or (end - start) % cells:
                return None
            shapes = (end - start) // cells
            level = boxes[start:end].reshape(height, width, shapes, 4)
            sides = level[..., 2:] - level[..., :2]
            if (
                (level[..., 0::2] != level[:1, ..., 0::2]).any()
                or (level[..., 1::2] != level[:, :1, :, 1::2]).any()
                or (np.abs(sides - sides[0, 0]) > _SAME_SHAPE * sides[0, 0]).any()
                or (sides <= 0).any()
            ):
                return None
            for shape in range(shapes):
                number = np.full(width, len(areas)), np.full(height, len(areas))
                x, y = level[0, :, shape, 0::2], level[:, 0, shape, 1::2]
                columns.append((x[:, 0], x[:, 1], number[0], np.arange(width) * shapes))
                first = start + shape
                rows.append(
                    (y[:, 0], y[:, 1], number[1], first + np.arange(height) * width * shapes)
                )
                areas.append(sides[0, 0, shape].prod())
        x1, x2, column_grid, column_step = map(np.concatenate, zip(*columns, strict=True))
        y1, y2, row_grid, row_step = map(np.concatenate, zip(*rows, strict=True))
        return cls(
            boxes=boxes,
            x1=x1,
            x2=x2,
            y1=y1,
            y2=y2,
            column_grid=column_grid,
            row_grid=row_grid,
            column_step=column_step,
            row_step=row_step,
            area=np.array(areas, dtype=np.float32),
        )


class NearMatches(NamedTuple):
    """The positive anchors of an image.

    Attributes:
        anchors: (P,) their indices, ascending.
        owners: (P,) the object of each.
        best_ious: (G,) float32 best IoU of each object with any anchor.
    """

    anchors: Array
    owners: Array
    best_ious: Array


def match_near(
    gt_boxes: Array, grids: AnchorGrids | None, rule: NearRule | None
) -> NearMatches | None:
    """Positive anchors and their objects, as the matcher of ``rule`` gives them.

    Args:
        gt_boxes: (G, 4) float32, G > 0.
        grids: R anchors; None where they form no grids.
        rule: of the matcher; None where it has another.

    Returns:
        None where all anchors must be looked at: without grids or rule, or where an object that
        overlaps no anchor makes all of them positive.
    """
    if grids is None or rule is None:
        return None
    starts = range(0, len(gt_boxes), _OBJECTS_AT_ONCE)
    parts = [
        _near_pairs(gt_boxes[start : start + _OBJECTS_AT_ONCE], grids, rule.threshold)
        for start in starts
    ]
    objects = np.concatenate([part[0] + start for part, start in zip(parts, starts, strict=True)])
    anchors = np.concatenate([part[1] for part in parts])
    ious = _iou(gt_boxes[objects], grids.boxes[anchors])
    best = np.zeros(len(gt_boxes), dtype=np.float32)
    np.maximum.at(best, objects, ious)
    if rule.low_quality == "stock" and (best == 0).any():
        return None
    strong = ious >= rule.threshold
    found, owners = _first_best(objects[strong], anchors[strong], ious[strong])
    tied = ious == best[objects]
    if rule.low_quality == "stock":
        weak = np.setdiff1d(anchors[tied], found)
        if len(weak):
            table = _iou(gt_boxes[:, None], grids.boxes[weak])
            found, owners = np.append(found, weak), np.append(owners, table.argmax(axis=0))
    elif rule.low_quality == "reassign":
        nowhere = len(grids.boxes)
        first = np.full(len(gt_boxes), nowhere)
        np.minimum.at(first, objects[tied], anchors[tied])
        # The later of the objects that want an anchor gets it.
        taken, later = np.unique(first[::-1], return_index=True)
        taken, later = taken[taken < nowhere], later[taken < nowhere]
        kept = ~np.isin(found, taken)
        found = np.append(found[kept], taken)
        owners = np.append(owners[kept], len(gt_boxes) - 1 - later)
    order = np.argsort(found)
    return NearMatches(found[order], owners[order], best)


def _near_pairs(gt_boxes: Array, grids: AnchorGrids, threshold: float) -> tuple[Array, Array]:
    """(P,) objects and anchors: every pair at the threshold or at the best IoU of its object."""
    widths = _overlaps(gt_boxes[:, 0], gt_boxes[:, 2], grids.x1, grids.x2)  # (G, X)
    heights = _overlaps(gt_boxes[:, 1], gt_boxes[:, 3], grids.y1, grids.y2)  # (G, Y)
    widest = np.maximum.reduceat(widths, _starts(grids.column_grid), axis=1)  # (G, S)
    highest = np.maximum.reduceat(heights, _starts(grids.row_grid), axis=1)
    both = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(axis=1)[:, None] + grids.area
    most = widest * highest
    aim = np.minimum(threshold, (most / (both - most)).max(axis=1, keepdims=True)) * (1 - _SLACK)
    least = np.maximum(aim * both / (1 + aim) * (1 - _SLACK), np.finfo(np.float32).tiny)

    # Columns that suffice in the best row, rows that suffice in the best column; then their pairs.
    grid = grids.column_grid
    by_column, column = np.nonzero(widths * highest[:, grid] >= least[:, grid])
    grid = grids.row_grid
    by_row, row = np.nonzero(heights * widest[:, grid] >= least[:, grid])
    column_key = by_column * len(grids.area) + grids.column_grid[column]
    row_key = by_row * len(grids.area) + grids.row_grid[row]
    first = np.searchsorted(row_key, column_key, side="left")
    count = np.searchsorted(row_key, column_key, side="right") - first
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    at = np.repeat(first, count) + step
    column = np.repeat(column, count)
    objects = by_row[at]
    near = widths[objects, column] * heights[objects, row[at]]
    near = near >= least[objects, grids.row_grid[row[at]]]
    anchors = grids.row_step[row[at]] + grids.column_step[column]
    return objects[near], anchors[near]


def _overlaps(low: Array, high: Array, starts: Array, ends: Array) -> Array:
    overlap = np.minimum(high[:, None], ends) - np.maximum(low[:, None], starts)
    return np.maximum(overlap, 0, out=overlap)


def _starts(grid: Array) -> Array:
    return np.flatnonzero(np.r_[True, np.diff(grid) != 0])


def _iou(gt_boxes: Array, anchors: Array) -> Array:
    """IoU in float32, operation by operation as ``pairwise_iou``."""
    width = np.minimum(gt_boxes[..., 2], anchors[..., 2])
    width = np.maximum(width - np.maximum(gt_boxes[..., 0], anchors[..., 0]), 0)
    height = np.minimum(gt_boxes[..., 3], anchors[..., 3])
    height = np.maximum(height - np.maximum(gt_boxes[..., 1], anchors[..., 1]), 0)
    overlap = width * height
    union = _area(gt_boxes) + _area(anchors) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def _area(boxes: Array) -> Array:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _first_best(objects: Array, anchors: Array, ious: Array) -> tuple[Array, Array]:
    """Each anchor once, with its object of highest IoU, the first of equal ones."""
    order = np.lexsort((objects, -ious, anchors))
    anchors, first = np.unique(anchors[order], return_index=True)
    return anchors, objects[order][first]
