"""Anchor shapes that would cover the objects which no anchor overlaps enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, pairwise_iou

from .anchors import AnchorGeometry

__all__ = ["AnchorSuggestion", "covered_share", "suggest_anchors"]

_MAX_SUGGESTIONS = 3
_LEAST_GAIN = 0.05  # of the uncovered objects, for a suggestion to be worth its anchors
_NEAR_BEST = 0.9  # among candidates this close to the best gain, the one with fewest anchors wins
_RATIOS = (1.0, 2.0, 3.0, 4.0, 5.0)


@dataclass(frozen=True)
class AnchorSuggestion:
    """Anchors to add at one feature level.

    Attributes:
        kind: ``"size"`` (at the level's aspect ratios) or ``"ratio"`` (at the level's sizes).
        value: the size, square root of the anchor's area in pixels, or the ratio of the longer to
            the shorter edge, in both orientations.
        level: index of the feature level.
        shapes: (width, height) of the anchors added per cell.
        added_anchors: anchors added to an image, for the median input of the sample.
        covers: objects of the sample that it covers beyond those suggested before it.
    """

    kind: str
    value: float
    level: int
    shapes: tuple[tuple[float, float], ...]
    added_anchors: int
    covers: int


@dataclass(frozen=True)
class _Grid:
    """Anchor centres of one level of one image: first, step and number along x and y."""

    first: tuple[float, float]
    step: tuple[float, float]
    count: tuple[int, int]

    def nearest(self, centres: np.ndarray) -> np.ndarray:
        index = np.round((centres - self.first) / self.step).clip(0, np.array(self.count) - 1)
        return index * self.step + self.first

    def boxes(self, shapes: Sequence[tuple[float, float]]) -> Boxes:
        x, y = (self.first[i] + self.step[i] * np.arange(self.count[i]) for i in (0, 1))
        centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2)
        half = np.array(shapes) / 2
        corners = np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)
        return Boxes(torch.as_tensor(corners, dtype=torch.float32))


def suggest_anchors(
    sample: Sequence[tuple[np.ndarray, tuple[int, int]]],
    geometry: AnchorGeometry,
    threshold: float,
) -> list[AnchorSuggestion]:
    """Choose sizes and ratios greedily by how many uncovered objects they would cover.

    The best IoU of a box with anchors of one shape on a regular grid is that at the nearest centre,
    so candidates are scored without making their anchors.

    Args:
        sample: uncovered objects: (box XYXY, input size (height, width)), network-input pixels.
        geometry: of the detector.
        threshold: IoU from which an object is covered.

    Returns:
        At most three suggestions, the most useful first; empty where nothing helps.
    """
    if not sample:
        return []
    boxes = np.array([box for box, _ in sample])
    grids = _grids(sample, geometry)
    middle = sorted(range(len(sample)), key=lambda i: np.prod(sample[i][1]))[len(sample) // 2]
    candidates = _candidates(boxes, geometry, sample[middle][1])
    hits = np.array([_hits(boxes, grids, c, threshold) for c in candidates])
    cost = np.array([np.prod(grids[middle][c[2]].count) * len(c[3]) for c in candidates])
    open_objects, chosen = np.ones(len(boxes), dtype=bool), []
    while len(chosen) < _MAX_SUGGESTIONS:
        gains = (hits & open_objects).sum(axis=1)
        if gains.max() < max(1, _LEAST_GAIN * len(boxes)):
            break
        near = np.flatnonzero(gains >= _NEAR_BEST * gains.max())
        best = min(near, key=lambda i: (cost[i], -gains[i]))
        chosen.append(AnchorSuggestion(*candidates[best], int(cost[best]), int(gains[best])))
        open_objects &= ~hits[best]
    return chosen


def covered_share(
    sample: Sequence[tuple[np.ndarray, tuple[int, int]]],
    geometry: AnchorGeometry,
    suggestions: Sequence[AnchorSuggestion],
    threshold: float,
) -> float:
    """Share of sampled uncovered objects that are covered once the suggestions' anchors are made.

    Args:
        sample: as in :func:`suggest_anchors`.
        geometry: of the detector.
        suggestions: from :func:`suggest_anchors`.
        threshold: IoU from which an object is covered.
    """
    if not sample:
        return 0.0
    grids, covered = _grids(sample, geometry), 0
    for (box, _), levels in zip(sample, grids, strict=True):
        gt_boxes = Boxes(torch.as_tensor(box, dtype=torch.float32)[None])
        anchors = [levels[s.level].boxes(s.shapes) for s in suggestions]
        covered += any(float(pairwise_iou(gt_boxes, a).max()) >= threshold for a in anchors)
    return covered / len(sample)


def _grids(
    sample: Sequence[tuple[np.ndarray, tuple[int, int]]], geometry: AnchorGeometry
) -> list[list[_Grid]]:
    by_size: dict[tuple[int, int], list[_Grid]] = {}
    for size in sorted({size for _, size in sample}):
        levels = _cells(geometry, size)
        by_size[size] = [_grid(centres) for centres, _ in levels]
    return [by_size[size] for _, size in sample]


def _cells(
    geometry: AnchorGeometry, image_size: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Centres (H, W, 2) and cell shapes (A, 2) of every level, from the anchors themselves."""
    anchors = geometry.anchors(image_size)
    levels = []
    for level, (height, width) in enumerate(anchors.grid_sizes):
        start, end = anchors.level_starts[level : level + 2]
        boxes = anchors.boxes.tensor[start:end].double().numpy().reshape(height, width, -1, 4)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        levels.append((centres[:, :, 0], boxes[0, 0, :, 2:] - boxes[0, 0, :, :2]))
    return levels


def _grid(centres: np.ndarray) -> _Grid:
    height, width = centres.shape[:2]
    step_x = centres[0, 1, 0] - centres[0, 0, 0] if width > 1 else 1.0
    step_y = centres[1, 0, 1] - centres[0, 0, 1] if height > 1 else 1.0
    return _Grid(tuple(centres[0, 0]), (step_x, step_y), (width, height))


def _candidates(
    boxes: np.ndarray, geometry: AnchorGeometry, image_size: tuple[int, int]
) -> list[tuple[str, float, int, tuple[tuple[float, float], ...]]]:
    edges = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).clip(min=1)
    exponents = range(int(np.floor(4 * np.log2(edges.min()))), int(4 * np.log2(edges.max())) + 2)
    sizes = [_rounded(2 ** (k / 4)) for k in exponents]
    candidates = []
    for level, (_, shapes) in enumerate(_cells(geometry, image_size)):
        own_sizes = sorted({_rounded(float(np.sqrt(w * h))) for w, h in shapes})
        own_ratios = sorted({round(float(h / w), 2) for w, h in shapes})
        for size in sizes:
            candidates.append(("size", size, level, _shapes([size], own_ratios)))
        for ratio in _RATIOS:
            if all(abs(own - ratio) > 0.2 * ratio for own in own_ratios):
                both = sorted({ratio, 1 / ratio})
                candidates.append(("ratio", ratio, level, _shapes(own_sizes, both)))
    return candidates


def _rounded(size: float) -> float:
    return round(size, 1) if size < 16 else float(round(size))


def _shapes(sizes: Sequence[float], ratios: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """(width, height) for every size and ratio of height to width."""
    return tuple((size / ratio**0.5, size * ratio**0.5) for size in sizes for ratio in ratios)


def _hits(
    boxes: np.ndarray, grids: list[list[_Grid]], candidate: tuple[Any, ...], threshold: float
) -> np.ndarray:
    """(N,) whether an anchor of the candidate would overlap each box enough."""
    _, _, level, shapes = candidate
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = np.array([g[level].nearest(c) for g, c in zip(grids, centres, strict=True)])
    half = np.array(shapes)[:, None] / 2  # (S, 1, 2)
    low = np.maximum(boxes[:, :2], nearest - half)
    high = np.minimum(boxes[:, 2:], nearest + half)
    overlap = (high - low).clip(min=0).prod(axis=-1)  # (S, N)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    iou = overlap / (area + (2 * half).prod(axis=-1) - overlap)
    return (iou >= threshold).any(axis=0)
