"""RefineDet as a Detectron2 meta-architecture.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    K: classes; index K is background
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from scb_d2.errors import ConfigError
from scb_d2.loss.anchor_targets import ObjectWeight
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.modeling.from_config import weighting_from_config
from scb_d2.projects.ssd import SSD, MultiBoxLoss

from .head import RefineDetHead
from .refinement import is_negative_anchor, refine_anchors

__all__ = ["RefineDet"]


@META_ARCH_REGISTRY.register()
class RefineDet(SSD):
    """Single-shot refinement network (Zhang et al. 2018), plain or with the scale-balanced loss.

    The anchor refinement module (ARM) is the first stage of the scale-balanced loss, the object
    detection module (ODM), whose anchors are the refined ones, the second. M of each is counted on
    its own anchors.
    """

    scb_stages = ("first", "second")

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        negative_thresh: float = 0.99,
        object_weight: ObjectWeight | None = None,
        odm_object_weight: ObjectWeight | None = None,
        statistics: MatchStatistics | None = None,
        odm_statistics: MatchStatistics | None = None,
        **ssd: Any,
    ):
        """Build the detector from its parts.

        Args:
            num_classes: K, without background.
            negative_thresh: see :func:`is_negative_anchor`; such anchors are neither mined as
                negatives of the ODM nor detected.
            object_weight: weighting of the ARM's loss, see :class:`MultiBoxLoss`.
            odm_object_weight: the same of the ODM's.
            statistics: how the ARM's match statistics are logged; None: as ``scb/arm/...`` every 20
                iterations.
            odm_statistics: the same of the ODM's, as ``scb/odm/...``.
            ssd: the other arguments of :class:`SSD`; its head is a :class:`RefineDetHead`.

        Raises:
            ConfigError: if ``negative_thresh`` is no probability.
        """
        super().__init__(
            num_classes=num_classes,
            object_weight=odm_object_weight,
            statistics=odm_statistics or MatchStatistics("odm"),
            **ssd,
        )
        if not 0 <= negative_thresh <= 1:
            raise ConfigError(
                f"MODEL.REFINEDET.NEGATIVE_THRESH must be between 0 and 1; got {negative_thresh}."
            )
        self.negative_thresh = negative_thresh
        odm_loss = self.multibox_loss
        self.arm_loss = MultiBoxLoss(
            num_classes=1,
            box2box_transform=odm_loss.box2box_transform,
            neg_pos_ratio=odm_loss.neg_pos_ratio,
            smooth_l1_beta=odm_loss.smooth_l1_beta,
            object_weight=object_weight,
            weighted_losses=ssd.get("weighted_losses", ("cls", "box")),
            weight_normalizer=ssd.get("weight_normalizer", "stock"),
            statistics=statistics or MatchStatistics("arm"),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts from ``MODEL.REFINEDET`` and what :meth:`SSD.from_config` reads."""
        arguments = super().from_config(cfg)
        shapes = arguments["backbone"].output_shape()
        arguments["head"] = RefineDetHead(cfg, [shapes[name] for name in cfg.MODEL.SSD.IN_FEATURES])
        arguments["negative_thresh"] = cfg.MODEL.REFINEDET.NEGATIVE_THRESH
        second = weighting_from_config(cfg, "second")
        if second:
            period, max_iter = cfg.MODEL.SCB.LOG_PERIOD, cfg.SOLVER.MAX_ITER
            arguments["odm_object_weight"] = second["object_weight"]
            arguments["statistics"] = MatchStatistics("arm", period, max_iter)
            arguments["odm_statistics"] = MatchStatistics("odm", period, max_iter)
        return arguments

    @property
    def object_weight(self) -> ObjectWeight | None:
        """The weighting of the ARM's loss; None: plain."""
        return self.arm_loss.object_weight

    @property
    def odm_object_weight(self) -> ObjectWeight | None:
        """The weighting of the ODM's loss; None: plain."""
        return self.multibox_loss.object_weight

    def _flat_predictions(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, R, 2) and (N, R, 4) of the ARM, (N, R, K + 1) and (N, R, 4) of the ODM."""
        depths = [2, 4, self.num_classes + 1, 4]
        levels = self._transpose_dense_predictions(predictions, depths)
        arm_logits, arm_deltas, pred_logits, pred_deltas = (torch.cat(x, dim=1) for x in levels)
        return arm_logits, arm_deltas, pred_logits, pred_deltas

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Losses of a batch: ``loss_arm_cls``, ``loss_arm_loc`` and the same two of ``odm``.

        Negative anchors of the ARM stay positives of the ODM where they match an object, as in the
        original code.
        """
        arm_logits, arm_deltas, pred_logits, pred_deltas = self._flat_predictions(predictions)
        anchors = Boxes.cat(self.anchor_generator(features))
        with get_event_storage().name_scope("arm"):
            labels, matched = self.arm_loss.label_anchors(
                anchors, [_class_agnostic(x) for x in gt_instances], self.anchor_matcher
            )
            arm_losses = self.arm_loss(anchors.tensor, arm_logits, labels, arm_deltas, matched)

        refined_anchors = refine_anchors(anchors.tensor, arm_deltas, self.box2box_transform)
        with get_event_storage().name_scope("odm"):
            labels, matched = self.multibox_loss.label_anchors(
                [Boxes(x) for x in refined_anchors], gt_instances, self.anchor_matcher
            )
            odm_losses = self.multibox_loss(
                refined_anchors,
                pred_logits,
                labels,
                pred_deltas,
                matched,
                mineable=~is_negative_anchor(arm_logits, self.negative_thresh),
            )
        return {
            "loss_arm_cls": arm_losses["loss_cls"],
            "loss_arm_loc": arm_losses["loss_box_reg"],
            "loss_odm_cls": odm_losses["loss_cls"],
            "loss_odm_loc": odm_losses["loss_box_reg"],
        }

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
    ) -> list[Instances]:
        """Detections of each image, decoded in two steps, in pixels of the network's input."""
        arm_logits, arm_deltas, pred_logits, pred_deltas = self._flat_predictions(predictions)
        anchors = Boxes.cat(self.anchor_generator(features)).tensor
        refined_anchors = refine_anchors(anchors, arm_deltas, self.box2box_transform)
        filtered = is_negative_anchor(arm_logits, self.negative_thresh)[..., None]
        pred_scores = pred_logits.float().softmax(dim=-1)[..., :-1].masked_fill(filtered, 0.0)
        return [
            self._detect(*of_image)
            for of_image in zip(
                refined_anchors, pred_scores, pred_deltas, images.image_sizes, strict=True
            )
        ]


def _class_agnostic(instances: Instances) -> Instances:
    """The same objects, all of the ARM's one class."""
    return Instances(
        instances.image_size,
        gt_boxes=instances.gt_boxes,
        gt_classes=torch.zeros_like(instances.gt_classes),
    )
