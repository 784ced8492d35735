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

from scb_d2.utils.arguments import check_choice

from .matching_in_blocks import match_in_blocks

__all__ = [
    "COUNTS",
    "LOW_QUALITY_RULES",
    "MATCHING",
    "ScaleBalancedMatcher",
    "anchor_weights",
    "match_anchors",
    "match_boxes",
    "match_counts",
    "match_table",
]

COUNTS = ("matched", "sampled")
LOW_QUALITY_RULES = ("stock", "reassign")
MATCHING = ("auto", "blocks", "table")
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
    anchor_labels = _threshold_labels(found.matched_vals, matcher.thresholds, matcher.labels)
    if not matcher.allow_low_quality_matches:
        return found.matched_idxs, anchor_labels
    if _low_quality(matcher) == "reassign":
        return _reassign_best_anchor(
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


def match_table(
    quality: Tensor,
    thresholds: list[float],
    labels: list[int],
    allow_low_quality_matches: bool = False,
    low_quality: str = "stock",
) -> tuple[Tensor, Tensor]:
    """What a :class:`ScaleBalancedMatcher` does with a table, without waiting for the device.

    Detectron2's matcher waits twice: to see that no entry is negative, and for ``nonzero``.
    ``torch.jit.script`` takes this function.

    Args:
        quality: (G, R) float >= 0, G > 0 and R > 0.
        thresholds: those of the matcher's attribute, from -inf to inf.
        labels: of the intervals between them.
        allow_low_quality_matches: see :class:`ScaleBalancedMatcher`.
        low_quality: see :class:`ScaleBalancedMatcher`.

    Returns:
        ``matched_idxs`` (R,) int64 and ``anchor_labels`` (R,) int8.
    """
    matched_vals, matched_idxs = quality.max(dim=0)
    anchor_labels = _threshold_labels(matched_vals, thresholds, labels)
    if not allow_low_quality_matches:
        return matched_idxs, anchor_labels
    best_vals, best_anchors = quality.max(dim=1)
    if low_quality == "reassign":
        return _reassign_best_anchor(matched_idxs, anchor_labels, best_vals, best_anchors)
    tied = (quality == best_vals[:, None]).any(dim=0)
    return matched_idxs, anchor_labels.masked_fill(tied, 1)


def _threshold_labels(matched_vals: Tensor, thresholds: list[float], labels: list[int]) -> Tensor:
    found = torch.ones_like(matched_vals, dtype=torch.int8)
    for i, label in enumerate(labels):
        inside = (matched_vals >= thresholds[i]) & (matched_vals < thresholds[i + 1])
        found.masked_fill_(inside, label)
    return found


def _low_quality(matcher: Matcher) -> str:
    return getattr(matcher, "low_quality", "stock")


class ScaleBalancedMatcher(Matcher):
    """Detectron2's matcher with a choice of what happens to objects that no anchor overlaps enough.

    Same call and same return as :class:`detectron2.modeling.matcher.Matcher`.

    ``low_quality="stock"`` is Detectron2's rule: every anchor tied for an object's best IoU becomes
    positive but keeps its own arg-max object, so an object can end with M = 0, and an object that
    overlaps no anchor makes all of them positive. ``"reassign"`` is the rule of the paper's code
    (mmdetection's ``MaxIoUAssigner`` with ``gt_max_assign_all=False``, repository
    1243France/SCB_Loss): one anchor per object, its arg-max, is given to it, with the lowest
    index on ties; where objects want the same anchor the later one gets it; an object whose best
    IoU is 0 gets none, as in Caffe's SSD (the paper's code, with ``min_pos_iou`` 0, gives it anchor
    0).

    Unlike its base it cannot be built within ``torch.jit.script``: TorchScript has no classes with
    a base, and this one must be a :class:`~detectron2.modeling.matcher.Matcher` for detectors to
    take it. :func:`match_table`, which does its work, can be scripted.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        labels: Sequence[int],
        allow_low_quality_matches: bool = False,
        low_quality: str = "stock",
        matching: str = "auto",
    ):
        """Build the matcher.

        Args:
            thresholds: IoU thresholds, as in Detectron2's matcher.
            labels: label of each interval between thresholds, as in Detectron2's matcher.
            allow_low_quality_matches: whether objects keep their best anchors below the
                thresholds at all.
            low_quality: ``"stock"`` or ``"reassign"``, the rule by which they do.
            matching: how :func:`match_boxes` finds the matches: ``"blocks"`` in bounded memory,
                ``"table"`` from the whole table of IoU, ``"auto"`` in blocks from 4 objects and
                262,144 pairs on (CPU) or from 64 million pairs on (GPU). The result is the same.

        Raises:
            ConfigError: if ``low_quality`` or ``matching`` is none of these.
        """
        super().__init__(list(thresholds), list(labels), allow_low_quality_matches)
        self.low_quality = check_choice(low_quality, LOW_QUALITY_RULES, "low_quality")
        self.matching = check_choice(matching, MATCHING, "matching")

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`detectron2.modeling.matcher.Matcher.__call__`.

        Never synchronises with the host, so it does not check that no entry is negative.
        """
        if match_quality_matrix.numel() == 0:
            return super().__call__(match_quality_matrix)
        return _match_table(match_quality_matrix, self)


def _reassign_best_anchor(
    matched_idxs: Tensor, anchor_labels: Tensor, best_quality: Tensor, best_anchor: Tensor
) -> tuple[Tensor, Tensor]:
    objects = torch.arange(len(best_anchor), device=best_anchor.device)
    objects = torch.where(best_quality > 0, objects, -1)
    # A maximum over indices lets later objects win and is deterministic, unlike index assignment.
    owner = torch.full_like(matched_idxs, -1).scatter_reduce_(0, best_anchor, objects, "amax")
    owned = owner >= 0
    return torch.where(owned, owner, matched_idxs), anchor_labels.masked_fill(owned, 1)
