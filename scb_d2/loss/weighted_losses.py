"""The end that the losses of all detectors with labelled anchors share.

Shape shorthand: N images, R anchors of an image over all feature levels, P positives of the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .anchor_targets import MatchedObjects
from .loss_weighting import LossWeighting
from .match_statistics import MatchStatistics

__all__ = ["positive_gt_boxes", "weighted_sums"]


def positive_gt_boxes(
    gt_objects: Sequence[MatchedObjects], positive: tuple[Tensor, Tensor]
) -> Tensor:
    """Box of the object of each positive anchor, (P, 4).

    Args:
        gt_objects: of each image.
        positive: (P,) images and (P,) anchors.
    """
    return torch.stack([x.gt_boxes for x in gt_objects])[positive]


def weighted_sums(
    cls_losses: Tensor,
    counted: Tensor,
    box_losses: Tensor,
    positive: tuple[Tensor, Tensor],
    gt_objects: Sequence[MatchedObjects],
    loss_weighting: LossWeighting,
    statistics: MatchStatistics | None,
    factors: tuple[float, float] = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Weight the losses of a batch, log its statistics where they are due, and sum.

    Args:
        cls_losses: (N, R) classification loss of each anchor.
        counted: (N, R) bool, the anchors whose classification loss counts, all positives included.
        box_losses: (P,) box loss of each positive anchor.
        positive: (P,) images and (P,) anchors.
        gt_objects: of each image.
        loss_weighting: how the weights are applied.
        statistics: how match statistics are logged; None: not at all.
        factors: by which the detector will multiply the two losses, for the statistics.

    Returns:
        Sums of the classification and of the box losses, neither divided nor multiplied.
    """
    weights = torch.stack([x.weights for x in gt_objects])[positive]
    weights = loss_weighting.normalize(weights)
    cls_losses, box_losses = loss_weighting.weigh(
        cls_losses, counted, box_losses, positive, weights
    )
    if statistics is not None and statistics.due():
        cls_factor, box_factor = factors
        statistics.log(
            torch.cat([x.match_counts for x in gt_objects]),
            weights,
            cls_losses.detach()[positive] * cls_factor + box_losses.detach() * box_factor,
            positive_gt_boxes(gt_objects, positive),
        )
    return cls_losses.sum(), box_losses.sum()
