"""Detectron2's matcher with a choice of rules, and what it does with a table of IoU.

Shape shorthand in this module:

    R: number of anchors (or proposals) of one image, over all feature levels
    G: number of objects of the image

``torch.jit.script`` takes all of it.
"""

import torch
from detectron2.modeling.matcher import Matcher
from torch import Tensor

from scb_d2.utils.arguments import check_choice

__all__ = [
    "LOW_QUALITY_RULES",
    "MATCHING",
    "ScaleBalancedMatcher",
    "match_table",
    "reassign_best_anchor",
    "threshold_labels",
]

LOW_QUALITY_RULES = ("stock", "reassign")
MATCHING = ("auto", "blocks", "table")


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

    Like its base it can be built within a function that ``torch.jit.script`` takes; an unknown
    ``low_quality`` or ``matching`` is not refused there.
    """

    def __init__(
        self,
        thresholds: list[float],
        labels: list[int],
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
            matching: how :func:`.match_boxes` finds the matches: ``"blocks"`` in bounded memory,
                ``"table"`` from the whole table of IoU, ``"auto"`` in blocks from 4 objects and
                262,144 pairs on (CPU) or from 64 million pairs on (GPU). The result is the same.

        Raises:
            ConfigError: if ``low_quality`` or ``matching`` is none of these.
        """
        # TorchScript compiles no super(), so the base checks and stores as a part.
        stock = Matcher(list(thresholds), list(labels), allow_low_quality_matches)
        self.thresholds = stock.thresholds
        self.labels = stock.labels
        self.allow_low_quality_matches = allow_low_quality_matches
        if not torch.jit.is_scripting():
            check_choice(low_quality, LOW_QUALITY_RULES, "low_quality")
            check_choice(matching, MATCHING, "matching")
        self.low_quality = low_quality
        self.matching = matching

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`detectron2.modeling.matcher.Matcher.__call__`.

        Never synchronises with the host, so it does not check that no entry is negative.
        """
        if match_quality_matrix.numel() == 0:
            num_anchors = match_quality_matrix.size(1)
            return (
                match_quality_matrix.new_zeros(num_anchors, dtype=torch.int64),
                match_quality_matrix.new_full((num_anchors,), self.labels[0], dtype=torch.int8),
            )
        return match_table(
            match_quality_matrix,
            self.thresholds,
            self.labels,
            self.allow_low_quality_matches,
            self.low_quality,
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
    anchor_labels = threshold_labels(matched_vals, thresholds, labels)
    if not allow_low_quality_matches:
        return matched_idxs, anchor_labels
    best_vals, best_anchors = quality.max(dim=1)
    if low_quality == "reassign":
        return reassign_best_anchor(matched_idxs, anchor_labels, best_vals, best_anchors)
    tied = (quality == best_vals[:, None]).any(dim=0)
    return matched_idxs, anchor_labels.masked_fill(tied, 1)


def threshold_labels(matched_vals: Tensor, thresholds: list[float], labels: list[int]) -> Tensor:
    """(R,) int8 label of the interval between thresholds that each (R,) best IoU lies in."""
    found = torch.ones_like(matched_vals, dtype=torch.int8)
    for i, label in enumerate(labels):
        inside = (matched_vals >= thresholds[i]) & (matched_vals < thresholds[i + 1])
        found.masked_fill_(inside, label)
    return found


def reassign_best_anchor(
    matched_idxs: Tensor, anchor_labels: Tensor, best_quality: Tensor, best_anchor: Tensor
) -> tuple[Tensor, Tensor]:
    """Give every object its best anchor; see :class:`ScaleBalancedMatcher`.

    Args:
        matched_idxs: (R,) int64.
        anchor_labels: (R,) int8.
        best_quality: (G,) IoU of each object with its best anchor.
        best_anchor: (G,) int64, the first such anchor.

    Returns:
        Both (R,) with the best anchors positive and given to their objects.
    """
    objects = torch.arange(len(best_anchor), device=best_anchor.device)
    objects = torch.where(best_quality > 0, objects, -1)
    # A maximum over indices lets later objects win and is deterministic, unlike index assignment.
    owner = torch.full_like(matched_idxs, -1).scatter_reduce_(0, best_anchor, objects, "amax")
    owned = owner >= 0
    return torch.where(owned, owner, matched_idxs), anchor_labels.masked_fill(owned, 1)
