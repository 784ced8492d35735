"""Matches between anchors and objects: labels, counts, and what an anchor inherits from its object.

Shape shorthand in this module:

    R: number of anchors (or proposals) of one image, over all feature levels
    G: number of objects of the image
    M: number of anchors matched to an object

Naming convention:

    matched_idxs: (R,) int64, index in [0, G) of the object an anchor was matched to. Meaningful
        on positive anchors only; elsewhere it may hold anything.
    anchor_labels: (R,) integers: 1 = positive, 0 = negative, -1 = ignored. A matcher's labels, not
        class labels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, RotatedBoxes, pairwise_iou, pairwise_iou_rotated
from detectron2.utils.memory import retry_if_cuda_oom
from torch import Tensor

from .matching_in_blocks import match_in_blocks
from .scale_balanced_matcher import (
    ScaleBalancedMatcher,
    match_table,
    reassign_best_anchor,
    threshold_labels,
)

__all__ = [
    "COUNTS",
    "anchor_weights",
    "match_anchors",
    "match_boxes",
    "match_counts",
]

COUNTS = ("matched", "sampled")
_CUDA_TABLE_LIMIT = 1 << 26
# Below these the table is faster (benchmarks/results).
_CPU_OBJECTS, _CPU_TABLE_LIMIT = 4, 1 << 18


@torch.no_grad()
def match_counts(matched_idxs: Tensor, anchor_labels: Tensor, num_objects: int) -> Tensor:
    """Count the positive anchors of each object.

    Objects are told apart by index, so two objects with the same box are counted apart.

    Args:
        matched_idxs: (R,) see the module's naming convention.
        anchor_labels: (R,) see the module's naming convention.
        num_objects: G.

    Returns:
        (G,) int64 M of each object. Never synchronises with the host.
    """
    owners = anchor_owners(matched_idxs, anchor_labels, num_objects)
    return count_owners(owners, num_objects)[:-1]


@torch.no_grad()
def anchor_weights(matched_idxs: Tensor, anchor_labels: Tensor, object_weights: Tensor) -> Tensor:
    """Give each positive anchor the weight of its object.

    Args:
        matched_idxs: (R,) see the module's naming convention.
        anchor_labels: (R,) see the module's naming convention.
        object_weights: (G,) weight of each object; G may be 0.

    Returns:
        (R,) float32, 1 on every anchor that is not positive.
    """
    owners = anchor_owners(matched_idxs, anchor_labels, len(object_weights))
    weights = torch.cat([object_weights.float(), object_weights.new_ones(1, dtype=torch.float32)])
    # index_select is several times faster than indexing on the CPU.
    return weights.index_select(0, owners)


def anchor_owners(matched_idxs: Tensor, anchor_labels: Tensor, num_objects: int) -> Tensor:
    """(R,) int64 object of each positive anchor; on all others G, one past the last object."""
    return torch.where(anchor_labels == 1, matched_idxs, num_objects)


def count_owners(owners: Tensor, num_objects: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """(G + 1,) number of anchors of each object, and last of those without one."""
    counts = owners.new_zeros(num_objects + 1, dtype=dtype)
    # torch.bincount would synchronise to learn its output size.
    return counts.scatter_add_(0, owners, torch.ones_like(owners, dtype=dtype))


@torch.no_grad()
def match_anchors(
    gt_boxes: Boxes, anchors: Boxes, level_sizes: Sequence[int], matcher: Any
) -> tuple[Tensor, Tensor]:
    """Match the anchors of one image to its objects by the rule of ``matcher``.

    Args:
        gt_boxes: G boxes, pixels.
        anchors: R boxes, pixels, level by level.
        level_sizes: number of anchors of each feature level.
        matcher: one that looks at places, with a method ``match(gt_boxes, anchors, level_sizes)``
            (:class:`.PointMatcher`, :class:`.ATSSMatcher`); else see :func:`match_boxes`.

    Returns:
        As :func:`match_boxes`.
    """
    if not isinstance(matcher, Matcher):
        return matcher.match(gt_boxes, anchors, level_sizes)
    return match_boxes(gt_boxes, anchors, matcher)


@torch.no_grad()
def match_boxes(gt_boxes: Boxes, anchors: Boxes, matcher: Matcher) -> tuple[Tensor, Tensor]:
    """Match the anchors of one image to its objects by IoU.

    Gives what ``matcher(pairwise_iou(gt_boxes, anchors))`` gives, on every anchor. Where
    ``matcher`` is Detectron2's or a :class:`ScaleBalancedMatcher` it need not hold that table: see
    :mod:`scb_d2.loss.matching_in_blocks` and the argument ``matching`` of the latter.

    Args:
        gt_boxes: G boxes, pixels; ``Boxes`` or ``RotatedBoxes``.
        anchors: R boxes, pixels, of the same class.
        matcher: Detectron2's or a subclass.

    Returns:
        ``matched_idxs`` (R,) int64 and ``anchor_labels`` (R,) int8 on the device of ``gt_boxes``.
    """
    if _fits_blocks(gt_boxes, anchors, matcher):
        return _match_in_blocks(gt_boxes, anchors, matcher)
    rotated = isinstance(gt_boxes, RotatedBoxes)
    table = pairwise_iou_rotated if rotated else pairwise_iou
    quality = retry_if_cuda_oom(table)(gt_boxes, anchors)
    if type(matcher) is Matcher and quality.numel():
        matched_idxs, anchor_labels = retry_if_cuda_oom(_match_table)(quality, matcher)
    else:
        matched_idxs, anchor_labels = retry_if_cuda_oom(matcher)(quality)
    # After an out-of-memory retry the results live on the CPU.
    return matched_idxs.to(gt_boxes.device), anchor_labels.to(gt_boxes.device)


def _fits_blocks(gt_boxes: Boxes, anchors: Boxes, matcher: Matcher) -> bool:
    plain = type(gt_boxes) is Boxes and type(anchors) is Boxes
    known = type(matcher) in (Matcher, ScaleBalancedMatcher)
    size = len(gt_boxes) * len(anchors)
    if not (plain and known and size and gt_boxes.tensor.dtype == anchors.tensor.dtype):
        return False
    matching = getattr(matcher, "matching", "auto")
    if matching != "auto":
        return matching == "blocks"
    if anchors.device.type == "cpu":
        return len(gt_boxes) >= _CPU_OBJECTS and size >= _CPU_TABLE_LIMIT
    return size >= _CUDA_TABLE_LIMIT


def _match_in_blocks(gt_boxes: Boxes, anchors: Boxes, matcher: Matcher) -> tuple[Tensor, Tensor]:
    found = match_in_blocks(gt_boxes, anchors)
    anchor_labels = threshold_labels(found.matched_vals, matcher.thresholds, matcher.labels)
    if not matcher.allow_low_quality_matches:
        return found.matched_idxs, anchor_labels
    if _low_quality(matcher) == "reassign":
        return reassign_best_anchor(
            found.matched_idxs, anchor_labels, found.best_vals, found.best_anchors
        )
    tied = found.tied_for_best(gt_boxes, anchors)
    return found.matched_idxs, anchor_labels.masked_fill(tied, 1)


def _match_table(quality: Tensor, matcher: Matcher) -> tuple[Tensor, Tensor]:
    return match_table(
        quality,
        matcher.thresholds,
        matcher.labels,
        matcher.allow_low_quality_matches,
        _low_quality(matcher),
    )


def _low_quality(matcher: Matcher) -> str:
    return getattr(matcher, "low_quality", "stock")
