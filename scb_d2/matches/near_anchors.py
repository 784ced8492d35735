"""Matches of an image from the anchors near its objects only: the labels of training, much faster.

Shape shorthand in this module:

    G: objects of the image, R: its anchors over all levels
    S: shapes of anchors over all levels, one for each anchor of a cell
    P: pairs of object and shape that may overlap enough, T: pairs of object and anchor looked at

An anchor is positive because its IoU with an object reaches the matcher's limit, or because it is
an object's best. An IoU of t needs an overlap of t times the larger of both areas, which bounds
where in its level's grid such an anchor can be: only these cells are looked at. For objects that
no anchor reaches the limit is lowered until one does. IoU is computed by the float operations of
:func:`detectron2.structures.pairwise_iou`, so that ties and labels are the same to the bit.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes
from torch import Tensor

from scb_d2.loss.matching import ScaleBalancedMatcher

__all__ = ["AnchorGrid", "NearMatches", "anchor_grid", "match_near"]

_REGULAR = 1e-3  # pixels by which anchors may differ from a regular grid of float32 numbers
_LOWER, _LEAST_LIMIT = 0.4, 1e-3  # how the limit of objects that no anchor reaches is lowered
_MARGIN = 1e-2  # cells and relative overlap by which windows are wider than they need to be


class AnchorGrid(NamedTuple):
    """The shapes of anchors and the grids that they are repeated on.

    Attributes:
        shapes: (S, 4) float64, the anchor of each shape in the first cell of its level.
        strides: (S, 2) float64, pixels between cells along x and y.
        cells: (S, 2) int64, cells along x and y.
        starts: (S,) int64, index of the anchor of the first cell.
        per_cell: (S,) int64, anchors of a cell.
    """

    shapes: np.ndarray
    strides: np.ndarray
    cells: np.ndarray
    starts: np.ndarray
    per_cell: np.ndarray


class NearMatches(NamedTuple):
    """The positive anchors of an image.

    Attributes:
        anchors: (P,) int64, their indices, ascending.
        objects: (P,) int64, the object of each.
        best_ious: (G,) float32, best IoU of each object with any anchor.
    """

    anchors: Tensor
    objects: Tensor
    best_ious: Tensor


def anchor_grid(
    boxes: Tensor, level_starts: Sequence[int], grid_sizes: Sequence[tuple[int, int]]
) -> AnchorGrid | None:
    """The grid of an image's anchors; None where they are not laid out regularly.

    Args:
        boxes: (R, 4) level by level, row by row, the anchors of a cell one after the other.
        level_starts: (L + 1,) where each level begins, and R.
        grid_sizes: (height, width) of each level in cells.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for (start, end), (height, width) in zip(pairwise(level_starts), grid_sizes, strict=True):
        per_cell, rest = divmod(end - start, max(height * width, 1))
        if rest or not per_cell:
            return None
        level = boxes[start:end].double().reshape(height, width, per_cell, 4)
        step_x = float(level[0, 1, 0, 0] - level[0, 0, 0, 0]) if width > 1 else 1.0
        step_y = float(level[1, 0, 0, 1] - level[0, 0, 0, 1]) if height > 1 else 1.0
        x, y = np.meshgrid(np.arange(width) * step_x, np.arange(height) * step_y)
        shifts = torch.from_numpy(np.stack([x, y, x, y], axis=-1))
        if (level - level[0, 0] - shifts[:, :, None]).abs().max() > _REGULAR:
            return None
        ones = np.ones((per_cell, 1))
        parts.append(
            (
                level[0, 0].numpy(),
                ones * [step_x, step_y],
                (ones * [width, height]).astype(np.int64),
                start + np.arange(per_cell),
                np.full(per_cell, per_cell),
            )
        )
    return AnchorGrid(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def match_near(
    gt_boxes: Boxes, boxes: Tensor, grid: AnchorGrid | None, matcher: Any
) -> NearMatches | None:
    """Match as ``matcher`` does.

    Args:
        gt_boxes: G >= 1 boxes, pixels.
        boxes: (R, 4) anchors.
        grid: of them.
        matcher: of the detector.

    Returns:
        None where all anchors must be looked at: another kind of matcher, anchors in no grid, or an
        object that overlaps no anchor and so makes all of them positive.
    """
    limit = _limit(matcher)
    if grid is None or limit is None or not len(boxes):
        return None
    objects, anchors, ious, best = _overlaps(gt_boxes.tensor, boxes, grid, limit)
    low_quality = _low_quality(matcher)
    if low_quality == "stock" and bool((best == 0).any()):
        return None
    over = ious >= limit
    positive, owners = _owners(anchors[over], objects[over], ious[over])
    if low_quality != "off":
        is_best = (ious == best[objects]) & (ious > 0)
        rule = _keep_arg_max if low_quality == "stock" else _give_to_object
        positive, owners = rule(
            positive, owners, anchors[is_best], objects[is_best], gt_boxes, boxes
        )
    return NearMatches(positive, owners, best)


def _limit(matcher: Any) -> float | None:
    """IoU from which anchors are positive; None where the matcher's rule is another one."""
    known = type(matcher) in (Matcher, ScaleBalancedMatcher)
    if not known or list(matcher.labels).count(1) != 1 or matcher.labels[-1] != 1:
        return None
    limit = float(matcher.thresholds[-2])
    return limit if limit > 0 else None


def _low_quality(matcher: Any) -> str:
    if not matcher.allow_low_quality_matches:
        return "off"
    return getattr(matcher, "low_quality", "stock")


def _overlaps(
    gt_boxes: Tensor, boxes: Tensor, grid: AnchorGrid, limit: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Objects and anchors of T pairs, their IoU, and the (G,) best IoU of each object.

    Among the pairs are all whose IoU reaches ``limit`` or is the best of its object, unless that is
    0.
    """
    best = torch.zeros(len(gt_boxes))
    found = []
    waiting = torch.arange(len(gt_boxes))
    while len(waiting) and limit > _LEAST_LIMIT:
        objects, anchors = _pairs(gt_boxes[waiting].double().numpy(), grid, limit)
        objects = waiting[objects]
        ious = _ious(gt_boxes[objects], boxes[anchors])
        best.scatter_reduce_(0, objects, ious, "amax")
        reached = best >= limit  # so that all pairs as good as the best are known
        known = reached[objects]
        found.append((objects[known], anchors[known], ious[known]))
        waiting = waiting[~reached[waiting]]
        limit *= _LOWER
    for g in waiting.tolist():
        ious = _ious(gt_boxes[g : g + 1], boxes)
        best[g] = ious.max()
        anchors = ((ious == best[g]) & (ious > 0)).nonzero()[:, 0]
        found.append((torch.full_like(anchors, g), anchors, ious[anchors]))
    objects, anchors, ious = (torch.cat(x) for x in zip(*found, strict=True))
    return objects, anchors, ious, best


def _pairs(gt_boxes: np.ndarray, grid: AnchorGrid, limit: float) -> tuple[Tensor, Tensor]:
    """(T,) objects and (T,) anchors, among them all pairs whose IoU reaches ``limit``."""
    sizes = gt_boxes[:, None, 2:] - gt_boxes[:, None, :2]  # (G, 1, 2)
    shape_sizes = grid.shapes[:, 2:] - grid.shapes[:, :2]  # (S, 2)
    most = np.minimum(sizes, shape_sizes)  # (G, S, 2), largest overlap along each axis
    least_area = limit * np.maximum(sizes.prod(-1), shape_sizes.prod(-1)) * (1 - _MARGIN)
    with np.errstate(divide="ignore", invalid="ignore"):
        least = least_area[..., None] / most[..., ::-1]  # least overlap along each axis
    fits = (most.prod(-1) >= least_area) & (most > 0).all(-1)
    g, s = np.nonzero(fits)
    low = gt_boxes[g, :2] + least[g, s] - grid.shapes[s, 2:]
    high = gt_boxes[g, 2:] - least[g, s] - grid.shapes[s, :2]
    first = np.ceil(low / grid.strides[s] - _MARGIN).clip(min=0)
    last = np.minimum(np.floor(high / grid.strides[s] + _MARGIN), grid.cells[s] - 1)
    spans = (last - first + 1).clip(min=0).astype(np.int64)  # (P, 2) cells along x and y
    numbers = spans.prod(axis=1)
    pair = np.repeat(np.arange(len(g)), numbers)
    place = np.arange(len(pair)) - np.repeat(numbers.cumsum() - numbers, numbers)
    column = first[pair, 0].astype(np.int64) + place % spans[pair, 0]
    row = first[pair, 1].astype(np.int64) + place // spans[pair, 0]
    shape = s[pair]
    cell = row * grid.cells[shape, 0] + column
    anchors = grid.starts[shape] + cell * grid.per_cell[shape]
    return torch.from_numpy(g[pair]), torch.from_numpy(anchors)


def _ious(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
    """IoU of boxes paired by broadcasting, in the operations of ``pairwise_iou``."""
    areas, anchor_areas = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (gt_boxes, anchors))
    width_height = torch.min(gt_boxes[:, 2:], anchors[:, 2:]) - torch.max(
        gt_boxes[:, :2], anchors[:, :2]
    )
    overlaps = width_height.clamp_(min=0).prod(dim=1)
    return torch.where(overlaps > 0, overlaps / (areas + anchor_areas - overlaps), torch.zeros(1))


def _owners(anchors: Tensor, objects: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
    """Each anchor once, ascending, and the object it overlaps most, the first of equals."""
    unique, index = anchors.unique(return_inverse=True)
    best = torch.zeros(len(unique)).scatter_reduce_(0, index, ious, "amax")
    wins = ious == best[index]
    owners = torch.full_like(unique, torch.iinfo(torch.int64).max)
    return unique, owners.scatter_reduce_(0, index[wins], objects[wins], "amin")


def _keep_arg_max(
    positive: Tensor,
    owners: Tensor,
    best_anchors: Tensor,
    best_objects: Tensor,
    gt_boxes: Boxes,
    boxes: Tensor,
) -> tuple[Tensor, Tensor]:
    """Detectron2's rule: an object's best anchors are positive for the object they overlap most."""
    further = best_anchors.unique()
    further = further[~torch.isin(further, positive)]
    if not len(further):
        return positive, owners
    table = torch.stack([_ious(box[None], boxes[further]) for box in gt_boxes.tensor])
    anchors = torch.cat([positive, further])
    objects = torch.cat([owners, table.max(dim=0).indices])
    order = anchors.argsort()
    return anchors[order], objects[order]


def _give_to_object(
    positive: Tensor,
    owners: Tensor,
    best_anchors: Tensor,
    best_objects: Tensor,
    gt_boxes: Boxes,
    boxes: Tensor,
) -> tuple[Tensor, Tensor]:
    """One anchor, the first of its best, goes to each object; later objects win."""
    given = dict(zip(positive.tolist(), owners.tolist(), strict=True))
    first = torch.full((len(gt_boxes),), len(boxes)).scatter_reduce_(
        0, best_objects, best_anchors, "amin"
    )
    given |= {anchor: g for g, anchor in enumerate(first.tolist()) if anchor < len(boxes)}
    anchors = sorted(given)
    return torch.tensor(anchors, dtype=torch.int64), torch.tensor(
        [given[anchor] for anchor in anchors], dtype=torch.int64
    )
