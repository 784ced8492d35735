"""Region proposal network with the scale-balanced loss.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    P: sampled positive anchors of the batch
"""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat, nonzero_tuple
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn import functional as F

from scb_d2.loss.anchor_targets import matched_objects
from scb_d2.loss.match_statistics import warn_if_all_positive
from scb_d2.loss.matching import COUNTS, match_anchors
from scb_d2.utils.arguments import check_choice

from .from_config import build_matcher, weighting_from_config
from .weighs_anchors import WeighsAnchors

__all__ = ["ScaleBalancedRPN"]


@PROPOSAL_GENERATOR_REGISTRY.register()
class ScaleBalancedRPN(WeighsAnchors, RPN):
    """Detectron2's RPN whose positive anchors are weighted by their object's matches.

    Parameters, checkpoints, proposals, sampling and divisors are those of
    :class:`detectron2.modeling.proposal_generator.RPN`. With ``object_weight=None`` so are the
    losses.
    """

    takes_anchor_matcher = True

    @configurable
    def __init__(self, *, match_count: str = "matched", **kwargs: Any):
        """Build the network from its parts.

        Args:
            match_count: which anchors M counts: ``"matched"``, all positives after the boundary
                filter and before sampling, or ``"sampled"``, those that survive sampling.
            **kwargs: of :class:`.WeighsAnchors` and of
                :class:`detectron2.modeling.proposal_generator.RPN`.
        """
        super().__init__(**kwargs)
        self.match_count = check_choice(match_count, COUNTS, "match_count")

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """See :meth:`detectron2.modeling.proposal_generator.RPN.from_config`."""
        ret = super().from_config(cfg, input_shape)
        ret.update(weighting_from_config(cfg, "first", samples=True))
        ret["anchor_matcher"] = build_matcher(
            cfg,
            cfg.MODEL.RPN.IOU_THRESHOLDS,
            cfg.MODEL.RPN.IOU_LABELS,
            allow_low_quality_matches=True,
            anchor_generator=ret["anchor_generator"],
        )
        return ret

    @torch.jit.unused
    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Any]]:
        """See :meth:`detectron2.modeling.proposal_generator.RPN.label_and_sample_anchors`.

        Returns:
            Labels as in stock, and per image a :class:`.MatchedObjects` in place of the boxes
            alone. Without ``object_weight`` what stock returns.
        """
        if self.object_weight is None and isinstance(self.anchor_matcher, Matcher):
            return super().label_and_sample_anchors(anchors, gt_instances)
        level_sizes, anchors = [len(x) for x in anchors], type(anchors[0]).cat(anchors)
        is_due = self.statistics.due()
        gt_labels, objects = [], []
        for gt_per_image in gt_instances:
            gt_boxes = gt_per_image.gt_boxes
            matched_idxs, anchor_labels = match_anchors(
                gt_boxes, anchors, level_sizes, self.anchor_matcher
            )
            if is_due:  # asking costs a synchronisation
                num_positive = int((anchor_labels == 1).sum())
                warn_if_all_positive(num_positive, len(anchors), self.anchor_matcher)
            if self.anchor_boundary_thresh >= 0:
                inside = anchors.inside_box(gt_per_image.image_size, self.anchor_boundary_thresh)
                anchor_labels = anchor_labels.masked_fill(~inside, -1)
            sampled_labels = self._subsample_labels(anchor_labels.clone())
            counted_labels = anchor_labels if self.match_count == "matched" else sampled_labels
            gt_labels.append(sampled_labels)
            objects.append(
                matched_objects(matched_idxs, counted_labels, gt_boxes, self.object_weight)
            )
        if self.object_weight is None:
            return gt_labels, [x.gt_boxes for x in objects]
        return gt_labels, objects

    @torch.jit.unused
    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Any],
    ) -> dict[str, Tensor]:
        """See :meth:`detectron2.modeling.proposal_generator.RPN.losses`.

        Args:
            anchors: as in stock.
            pred_objectness_logits: as in stock.
            gt_labels: first output of :meth:`label_and_sample_anchors`.
            pred_anchor_deltas: as in stock.
            gt_boxes: second output of :meth:`label_and_sample_anchors`.
        """
        if self.object_weight is None:
            return super().losses(
                anchors, pred_objectness_logits, gt_labels, pred_anchor_deltas, gt_boxes
            )
        labels = torch.stack(gt_labels)  # (N, R)
        positive = nonzero_tuple(labels == 1)
        num_images = len(labels)
        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", len(positive[0]) / num_images)
        storage.put_scalar("rpn/num_neg_anchors", (labels == 0).sum().item() / num_images)

        cls_losses = F.binary_cross_entropy_with_logits(
            cat(pred_objectness_logits, dim=1), (labels == 1).to(torch.float32), reduction="none"
        )  # (N, R)
        box_losses = self._box_losses(
            anchors,
            pred_anchor_deltas,
            positive,
            gt_boxes,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        weighted = self._weighted(
            {"cls": cls_losses, "box": box_losses},
            labels >= 0,  # anchors not sampled count nothing
            positive,
            gt_boxes,
            self.batch_size_per_image * num_images,
            {
                "cls": self.loss_weight.get("loss_rpn_cls", 1.0),
                "box": self.loss_weight.get("loss_rpn_loc", 1.0),
            },
        )
        return {"loss_rpn_cls": weighted["cls"], "loss_rpn_loc": weighted["box"]}
