"""How a detector applies the weights of its positive anchors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scb_d2.utils.arguments import check_choice, check_names

__all__ = ["LOSS_NAMES", "WEIGHT_NORMALIZERS", "LossWeighting"]

LOSS_NAMES = ("cls", "box")
WEIGHT_NORMALIZERS = ("stock", "mean_one")


class LossWeighting:
    """Which losses the weights multiply, and how they are normalised before.

    Attributes:
        weights_cls: whether they multiply the classification loss.
        weights_box: whether they multiply the box loss.
    """

    def __init__(self, weighted_losses: Sequence[str], weight_normalizer: str):
        """Check and keep the choices.

        Args:
            weighted_losses: one or more of ``"cls"``, ``"box"``.
            weight_normalizer: ``"stock"`` or ``"mean_one"``.

        Raises:
            ConfigError: if one of them is not allowed.
        """
        weighted_losses = check_names(weighted_losses, LOSS_NAMES, "weighted_losses")
        self.weights_cls = "cls" in weighted_losses
        self.weights_box = "box" in weighted_losses
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
        return weights * (len(weights) / weights.sum())

    def weigh(
        self,
        cls_losses: Tensor,
        counted: Tensor,
        box_losses: Tensor,
        positive: tuple[Tensor, ...],
        weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Multiply the losses of the positive anchors that are to be weighted.

        Args:
            cls_losses: (N, R) or (R,) classification loss of each anchor.
            counted: the same shape, bool: the anchors whose loss counts; among them all positives.
            box_losses: (P,) box loss of each positive anchor.
            positive: indices of the positive anchors, one tensor for each dimension.
            weights: (P,) their weights, normalised.

        Returns:
            ``cls_losses`` and ``box_losses``, weighted; the former 0 where they do not count.
        """
        cls_weights = counted.to(torch.float32)
        if self.weights_cls:
            cls_weights[positive] = weights
        if self.weights_box:
            box_losses = box_losses * weights
        return cls_losses * cls_weights, box_losses
