"""RetinaNet with the scale-balanced loss.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    P: positive anchors of the batch
    K: classes
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import cat, nonzero_tuple
from detectron2.modeling import META_ARCH_REGISTRY, RetinaNet
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from scb_d2.loss.match_statistics import warn_if_all_positive
from scb_d2.loss.unreduced_losses import sigmoid_focal_losses

from .from_config import build_matcher, weighting_from_config
from .weighs_anchors import WeighsAnchors

__all__ = ["ScaleBalancedRetinaNet"]


@META_ARCH_REGISTRY.register()
class ScaleBalancedRetinaNet(WeighsAnchors, RetinaNet):
    """Detectron2's RetinaNet whose positive anchors are weighted by their object's matches.

    Parameters, checkpoints and inference are those of
    :class:`detectron2.modeling.RetinaNet`. With ``object_weight=None`` so is training.
    """

    takes_anchor_matcher = True

    __init__ = configurable(WeighsAnchors.__init__)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """See :meth:`detectron2.modeling.RetinaNet.from_config`."""
        ret = super().from_config(cfg)
        ret.update(weighting_from_config(cfg, "first"))
        ret["anchor_matcher"] = build_matcher(
            cfg,
            cfg.MODEL.RETINANET.IOU_THRESHOLDS,
            cfg.MODEL.RETINANET.IOU_LABELS,
            allow_low_quality_matches=True,
            anchor_generator=ret["anchor_generator"],
        )
        return ret

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Any]]:
        """See :meth:`detectron2.modeling.RetinaNet.label_anchors`.

        Returns:
            Class labels as in stock, and per image a :class:`.MatchedObjects` in place of the boxes
            alone. Without ``object_weight`` what stock returns.
        """
        if self.object_weight is None and isinstance(self.anchor_matcher, Matcher):
            return super().label_anchors(anchors, gt_instances)
        gt_labels, objects = self._labelled(anchors, gt_instances, self.anchor_matcher)
        if self.object_weight is None:
            return gt_labels, [x.gt_boxes for x in objects]
        return gt_labels, objects

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Any],
    ) -> dict[str, Tensor]:
        """See :meth:`detectron2.modeling.RetinaNet.losses`.

        Args:
            anchors: as in stock.
            pred_logits: as in stock.
            gt_labels: first output of :meth:`label_anchors`.
            pred_anchor_deltas: as in stock.
            gt_boxes: second output of :meth:`label_anchors`.
        """
        if self.object_weight is None:
            return super().losses(anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes)
        labels = torch.stack(gt_labels)  # (N, R)
        positive = nonzero_tuple((labels >= 0) & (labels != self.num_classes))
        num_images, num_positive = len(labels), len(positive[0])
        storage = get_event_storage()
        storage.put_scalar("num_pos_anchors", num_positive / num_images)
        normalizer = self._ema_update("loss_normalizer", max(num_positive, 1), 100)
        warn_if_all_positive(num_positive, labels.shape[1], self.anchor_matcher)

        targets = pred_logits[0].new_zeros(*labels.shape, self.num_classes)  # (N, R, K)
        targets[(*positive, labels[positive])] = 1
        # Level by level: joined logits would be a copy that is kept for the gradients.
        levels = zip(pred_logits, targets.split([x.shape[1] for x in pred_logits], 1), strict=True)
        cls_losses = [
            sigmoid_focal_losses(x, y, alpha=self.focal_loss_alpha, gamma=self.focal_loss_gamma)
            for x, y in levels
        ]
        box_losses = self._box_losses(
            anchors,
            pred_anchor_deltas,
            positive,
            gt_boxes,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        weighted = self._weighted(
            {"cls": cat(cls_losses, dim=1), "box": box_losses},
            labels >= 0,  # ignored anchors count nothing
            positive,
            gt_boxes,
            normalizer,
        )
        return {"loss_cls": weighted["cls"], "loss_box_reg": weighted["box"]}
