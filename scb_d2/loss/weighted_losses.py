"""From the losses of single anchors to the weighted losses of a batch: equation 2.

Shape shorthand: N images, R anchors of an image over all feature levels, P positives of the batch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scb_d2.utils.arguments import check_choice, check_names

from .anchor_targets import MatchedObjects
from .match_statistics import MatchStatistics

__all__ = [
    "LOSS_NAMES",
    "WEIGHT_NORMALIZERS",
    "LossWeighting",
    "positive_gt_boxes",
    "weighted_losses",
]

LOSS_NAMES = ("cls", "box", "centerness")
WEIGHT_NORMALIZERS = ("stock", "mean_one")


class LossWeighting:
    """Which losses the weights multiply, and how they are normalised before."""

    def __init__(
        self,
        weighted_losses: Sequence[str],
        weight_normalizer: str,
        loss_names: Sequence[str] = ("cls", "box"),
    ):
        """Check and keep the choices.

        Args:
            weighted_losses: one or more of ``loss_names``.
            weight_normalizer: ``"stock"`` or ``"mean_one"``.
            loss_names: the losses that the detector has, of :data:`LOSS_NAMES`.

        Raises:
            ConfigError: if one of them is not allowed.
        """
        self.weighted_losses = check_names(weighted_losses, loss_names, "weighted_losses")
        self.weight_normalizer = check_choice(
            weight_normalizer, WEIGHT_NORMALIZERS, "weight_normalizer"
        )

    @torch.no_grad()
    def normalize(self, weights: Tensor) -> Tensor:
        """Rescale the weights of all positive anchors of this rank's batch.

        Under ``"stock"`` they stay as they are; under ``"mean_one"`` their mean becomes 1, so that
        only the shape of the weighting acts and a constant factor cancels.

        Args:
            weights: (P,).

        Returns:
            (P,) weights.
        """
        if self.weight_normalizer == "stock":
            return weights
        total = weights.sum()
        # Where all are 0 there is no mean to bring to 1.
        return torch.where(total > 0, weights * (len(weights) / total), weights)

    def weigh(
        self,
        losses: Mapping[str, Tensor],
        counted: Tensor,
        positive: tuple[Tensor, ...],
        weights: Tensor,
    ) -> dict[str, Tensor]:
        """Multiply the losses of the positive anchors that are to be weighted.

        Args:
            losses: by name: ``cls`` (N, R) or (R,) of each anchor, any other (P,) of each positive.
            counted: the shape of ``cls``, bool: the anchors whose ``cls`` counts; among them all
                positives.
            positive: indices of the positive anchors, one tensor for each dimension.
            weights: (P,) their weights, normalised.

        Returns:
            The same losses, weighted; ``cls`` 0 where it does not count.
        """
        factors = dict.fromkeys(losses, torch.ones_like(weights))
        factors |= dict.fromkeys(self.weighted_losses, weights)
        cls_factors = counted.to(torch.float32).index_put(positive, factors.pop("cls"))
        return {
            name: loss * (cls_factors if name == "cls" else factors[name])
            for name, loss in losses.items()
        }


def positive_gt_boxes(
    gt_objects: Sequence[MatchedObjects], positive: tuple[Tensor, Tensor]
) -> Tensor:
    """Box of the object of each positive anchor, (P, 4) or (P, 5) where boxes are rotated.

    Args:
        gt_objects: of each image.
        positive: (P,) images and (P,) anchors.
    """
    return torch.stack([x.gt_boxes for x in gt_objects])[positive]


def weighted_losses(
    losses: Mapping[str, Tensor],
    counted: Tensor,
    positive: tuple[Tensor, Tensor],
    gt_objects: Sequence[MatchedObjects],
    loss_weighting: LossWeighting,
    statistics: MatchStatistics | None,
    normalizer: float,
    factors: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """The end that the losses of all detectors with labelled anchors share.

    Weights the losses of a batch, logs its statistics where they are due, sums and divides.

    Args:
        losses: by name: ``cls`` (N, R) of each anchor, any other (P,) of each positive.
        counted: (N, R) bool, the anchors whose ``cls`` counts, all positives included.
        positive: (P,) images and (P,) anchors.
        gt_objects: of each image.
        loss_weighting: how the weights are applied.
        statistics: how match statistics are logged; None: not at all.
        normalizer: what each sum is divided by.
        factors: what each loss is multiplied by then, by name; 1 where there is none.

    Returns:
        Scalars by the names of ``losses``.
    """
    factors = dict.fromkeys(losses, 1.0) | dict(factors or {})
    weights = torch.stack([x.weights for x in gt_objects])[positive]
    weights = loss_weighting.normalize(weights)
    weighted = loss_weighting.weigh(losses, counted, positive, weights)
    if statistics is not None and statistics.due():
        of_positives = weighted | {"cls": weighted["cls"][positive]}
        statistics.log(
            torch.cat([x.match_counts for x in gt_objects]),
            weights,
            torch.stack([loss.detach() * factors[k] for k, loss in of_positives.items()]).sum(0),
            positive_gt_boxes(gt_objects, positive),
        )
    return {name: loss.sum() / normalizer * factors[name] for name, loss in weighted.items()}
