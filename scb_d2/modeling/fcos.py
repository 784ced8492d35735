"""FCOS with the scale-balanced loss.

Shape shorthand in this module:

    N: images in the batch
    R: points of an image over all feature levels, Detectron2's anchors here
    P: positive points of the batch
    K: classes
"""

from typing import Any

import torch
from detectron2.layers import cat, nonzero_tuple
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn import functional as F

from scb_d2.loss.point_matching import PointMatcher
from scb_d2.loss.unreduced_losses import sigmoid_focal_losses
from scb_d2.loss.weighted_losses import positive_gt_boxes

from .weighs_anchors import WeighsAnchors

__all__ = ["ScaleBalancedFCOS"]


class ScaleBalancedFCOS(WeighsAnchors, FCOS):
    """Detectron2's FCOS whose positive points are weighted by how many their object has.

    M of an object is its positive points: few, or none, for a small one. The constructor takes the
    arguments of :class:`.WeighsAnchors` and of :class:`detectron2.modeling.FCOS`. Parameters,
    checkpoints and inference are the stock ones; with ``object_weight=None`` so is training.
    """

    loss_names = ("cls", "box", "centerness")

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Any]]:
        """See :meth:`detectron2.modeling.FCOS.label_anchors`.

        Returns:
            Class labels as in stock, and per image a :class:`.MatchedObjects` in place of the boxes
            alone. Without ``object_weight`` exactly what stock returns.
        """
        if self.object_weight is None:
            return super().label_anchors(anchors, gt_instances)
        gt_labels, objects = self._labelled(
            anchors, gt_instances, PointMatcher(self.center_sampling_radius)
        )
        return gt_labels, objects

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Any],
        pred_centerness: list[Tensor],
    ) -> dict[str, Tensor]:
        """See :meth:`detectron2.modeling.FCOS.losses`.

        Args:
            anchors: as in stock.
            pred_logits: as in stock.
            gt_labels: first output of :meth:`label_anchors`.
            pred_anchor_deltas: as in stock.
            gt_boxes: second output of :meth:`label_anchors`.
            pred_centerness: as in stock.
        """
        if self.object_weight is None:
            return super().losses(
                anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes, pred_centerness
            )
        labels = torch.stack(gt_labels)  # (N, R)
        positive = nonzero_tuple(labels != self.num_classes)
        num_images, num_positive = len(labels), len(positive[0])
        get_event_storage().put_scalar("num_pos_anchors", num_positive / num_images)
        normalizer = self._ema_update("loss_normalizer", max(num_positive, 1), 300)

        logits = cat(pred_logits, dim=1)  # (N, R, K)
        targets = torch.zeros_like(logits)
        targets[(*positive, labels[positive])] = 1
        cls_losses = sigmoid_focal_losses(
            logits, targets, alpha=self.focal_loss_alpha, gamma=self.focal_loss_gamma
        )  # (N, R)
        box_losses = self._box_losses(anchors, pred_anchor_deltas, positive, gt_boxes, "giou")
        centerness_losses = F.binary_cross_entropy_with_logits(
            cat(pred_centerness, dim=1)[positive].squeeze(dim=1),
            self._centerness_targets(anchors, positive, positive_gt_boxes(gt_boxes, positive)),
            reduction="none",
        )  # (P,)
        weighted = self._weighted(
            {"cls": cls_losses, "box": box_losses, "centerness": centerness_losses},
            torch.ones_like(labels, dtype=torch.bool),  # FCOS ignores no point
            positive,
            gt_boxes,
            normalizer,
        )
        return {
            "loss_fcos_cls": weighted["cls"],
            "loss_fcos_loc": weighted["box"],
            "loss_fcos_ctr": weighted["centerness"],
        }

    def _centerness_targets(
        self, anchors: list[Boxes], positive: tuple[Tensor, Tensor], gt_boxes: Tensor
    ) -> Tensor:
        """(P,) how central each positive point lies in the (P, 4) box of its object."""
        points = Boxes(Boxes.cat(anchors).tensor[positive[1]])
        return self.compute_ctrness_targets([points], [gt_boxes])[0]
