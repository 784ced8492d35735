"""Fast R-CNN's losses with the scale-balanced loss.

Shape shorthand in this module:

    R: proposals of the batch
    P: foreground proposals of the batch
    K: foreground classes
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat, nonzero_tuple
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.fast_rcnn import _log_classification_stats
from detectron2.structures import Instances
from torch import Tensor
from torch.nn import functional as F

from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.unreduced_losses import box_regression_losses
from scb_d2.loss.weighted_losses import LossWeighting

from .from_config import weighting_from_config

__all__ = ["WEIGHTS_FIELD", "ScaleBalancedFastRCNNOutputLayers"]

WEIGHTS_FIELD = "scb_weights"
"""Field of proposals: float32 weight of each, 1 on background."""


class ScaleBalancedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """Detectron2's box predictor, multiplying losses by the weights that the proposals carry.

    Parameters, checkpoints, inference and divisors are those of
    :class:`detectron2.modeling.roi_heads.FastRCNNOutputLayers`; so are the losses of proposals
    without the field ``scb_weights``, which scale-balanced ROI heads set.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        weighted_losses: Sequence[str] = ("cls", "box"),
        weight_normalizer: str = "stock",
        statistics: MatchStatistics | None = None,
        **kwargs: Any,
    ):
        """Build the layers.

        Args:
            input_shape: as in stock.
            weighted_losses: which of ``"cls"``, ``"box"`` the weights multiply.
            weight_normalizer: ``"stock"`` or ``"mean_one"`` over the foreground proposals, see
                :class:`scb_d2.loss.weighted_losses.LossWeighting`.
            statistics: how loss statistics are logged; None: as ``scb/second/...`` every 20
                iterations.
            **kwargs: of :class:`detectron2.modeling.roi_heads.FastRCNNOutputLayers`.
        """
        super().__init__(input_shape, **kwargs)
        self.loss_weighting = LossWeighting(weighted_losses, weight_normalizer)
        self.statistics = statistics or MatchStatistics("second")

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """See :meth:`detectron2.modeling.roi_heads.FastRCNNOutputLayers.from_config`."""
        ret = super().from_config(cfg, input_shape)
        ret.update(weighting_from_config(cfg, "second"))
        ret.pop("object_weight", None)  # the ROI heads' part
        return ret

    def losses(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> dict[str, Tensor]:
        """See :meth:`detectron2.modeling.roi_heads.FastRCNNOutputLayers.losses`.

        Args:
            predictions: as in stock.
            proposals: as in stock, with the further field ``scb_weights``.
        """
        if not proposals or not all(x.has(WEIGHTS_FIELD) for x in proposals):
            return super().losses(predictions, proposals)
        scores, proposal_deltas = predictions
        gt_classes = cat([x.gt_classes for x in proposals])  # (R,)
        _log_classification_stats(scores, gt_classes)
        foreground = nonzero_tuple((gt_classes >= 0) & (gt_classes < self.num_classes))[0]
        # Proposals of an image without objects have no gt_boxes, and none of them is foreground.
        gt_boxes = cat(
            [(x.gt_boxes if x.has("gt_boxes") else x.proposal_boxes).tensor for x in proposals]
        )[foreground]
        weights = cat([x.get(WEIGHTS_FIELD) for x in proposals])[foreground]
        weights = self.loss_weighting.normalize(weights)

        cls_losses = self._classification_losses(scores, gt_classes)
        box_losses = box_regression_losses(
            self.box2box_transform,
            cat([x.proposal_boxes.tensor for x in proposals])[foreground],
            self._deltas_of_classes(proposal_deltas, gt_classes, foreground),
            gt_boxes,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        weighted = self.loss_weighting.weigh(
            {"cls": cls_losses, "box": box_losses},
            torch.ones_like(gt_classes),
            (foreground,),
            weights,
        )
        cls_factor = self.loss_weight.get("loss_cls", 1.0)
        box_factor = self.loss_weight.get("loss_box_reg", 1.0)
        if self.statistics.due():
            self.statistics.log_losses(
                weights,
                weighted["cls"].detach()[foreground] * cls_factor
                + weighted["box"].detach() * box_factor,
                gt_boxes,
            )
        normalizer = max(len(gt_classes), 1)
        return {
            "loss_cls": weighted["cls"].sum() / normalizer * cls_factor,
            "loss_box_reg": weighted["box"].sum() / normalizer * box_factor,
        }

    def _classification_losses(self, scores: Tensor, gt_classes: Tensor) -> Tensor:
        """Cross entropy of each proposal, (R,); their sum is R times the stock loss."""
        if not self.use_sigmoid_ce:
            return F.cross_entropy(scores, gt_classes, reduction="none")
        targets = scores.new_zeros(scores.shape).scatter_(1, gt_classes[:, None], 1)
        losses = F.binary_cross_entropy_with_logits(
            scores[:, :-1], targets[:, :-1], reduction="none"
        )  # (R, K): background is no class of its own
        if self.use_fed_loss:
            losses = losses * self._federated_mask(gt_classes)
        return losses.sum(dim=1)

    def _federated_mask(self, gt_classes: Tensor) -> Tensor:
        """(K,) 1 on the classes that the federated loss keeps in this batch, else 0."""
        kept = self.get_fed_loss_classes(
            gt_classes,
            num_fed_loss_classes=self.fed_loss_num_classes,
            num_classes=self.num_classes,
            weight=self.fed_loss_cls_weights,
        )
        mask = self.fed_loss_cls_weights.new_zeros(self.num_classes + 1)
        return mask.index_fill_(0, kept, 1)[:-1]

    def _deltas_of_classes(
        self, proposal_deltas: Tensor, gt_classes: Tensor, foreground: Tensor
    ) -> Tensor:
        """(P, 4) deltas that each foreground proposal's class predicts; (P, 5) of rotated boxes."""
        box_dim = len(self.box2box_transform.weights)
        if proposal_deltas.shape[1] == box_dim:  # class-agnostic
            return proposal_deltas[foreground]
        per_class = proposal_deltas.view(len(gt_classes), self.num_classes, box_dim)
        return per_class[foreground, gt_classes[foreground]]
