"""SSD's loss: softmax with hard negative mining and smooth L1, optionally scale-balanced.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    G: objects of an image
    P: positive anchors of the batch
    K: classes; index K is background
"""

from collections.abc import Sequence

import torch
from detectron2.layers import nonzero_tuple
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn import functional as F

from scb_d2.loss.anchor_targets import (
    MatchedObjects,
    ObjectWeight,
    class_labels,
    matched_objects,
)
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.matching import match_boxes
from scb_d2.loss.unreduced_losses import box_regression_losses
from scb_d2.loss.weighted_losses import (
    LossWeighting,
    positive_gt_boxes,
    weighted_losses,
)

__all__ = ["MultiBoxLoss", "hard_negatives", "match_objects"]


@torch.no_grad()
def match_objects(
    anchors: Boxes,
    gt_instances: Instances,
    matcher: Matcher,
    num_classes: int,
    object_weight: ObjectWeight | None = None,
) -> tuple[Tensor, MatchedObjects]:
    """Match the anchors of one image to its objects.

    Args:
        anchors: R boxes, pixels.
        gt_instances: G objects with ``gt_boxes`` and ``gt_classes`` in [0, K).
        matcher: the matcher; its label -1 makes an anchor ignored.
        num_classes: K.
        object_weight: weight per anchor, see :class:`scb_d2.ScaleBalancedWeight`. None: 1.

    Returns:
        ``gt_labels`` (R,) int64, K on negatives and -1 on ignored anchors; and what the anchors
        inherit from their objects.
    """
    gt_boxes = gt_instances.gt_boxes
    matched_idxs, anchor_labels = match_boxes(gt_boxes, anchors, matcher)
    gt_labels = class_labels(matched_idxs, anchor_labels, gt_instances.gt_classes, num_classes)
    matched = matched_objects(matched_idxs, anchor_labels, gt_boxes, object_weight)
    return gt_labels, matched


@torch.no_grad()
def hard_negatives(scores: Tensor, candidates: Tensor, num_wanted: Tensor) -> Tensor:
    """Choose the candidates with the highest scores, image by image.

    Args:
        scores: (N, R) how wrong each anchor is: the cross-entropy of background.
        candidates: (N, R) bool, which anchors may be chosen.
        num_wanted: (N,) how many of an image; all candidates where there are fewer.

    Returns:
        (N, R) bool. Never synchronises with the host.
    """
    order = scores.masked_fill(~candidates, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places)
    return candidates & (ranks < num_wanted[:, None])


class MultiBoxLoss(nn.Module):
    """Loss of one stage of anchors (SSD's only one, RefineDet's ARM or ODM).

    Cross-entropy of the positives and of the ``neg_pos_ratio`` times as many hardest negatives of
    each image, plus smooth L1 of the positives' box deltas, both divided by the number of positives
    of this rank's batch, at least 1 (Liu et al. 2016, section 2.2). Weights multiply the losses of
    positives only; which negatives are mined, how many, and the divisor do not depend on them.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        box2box_transform: Box2BoxTransform,
        neg_pos_ratio: float = 3.0,
        smooth_l1_beta: float = 1.0,
        object_weight: ObjectWeight | None = None,
        weighted_losses: Sequence[str] = ("cls", "box"),
        weight_normalizer: str = "stock",
        statistics: MatchStatistics | None = None,
    ):
        """Keep the parts; there are no parameters.

        Args:
            num_classes: K.
            box2box_transform: how deltas relate anchors to boxes.
            neg_pos_ratio: mined negatives per positive of an image; a fraction of one is dropped.
            smooth_l1_beta: where smooth L1 turns from quadratic to linear.
            object_weight: as in :class:`scb_d2.ScaleBalancedRetinaNet`. None: plain SSD.
            weighted_losses: as in :class:`scb_d2.ScaleBalancedRetinaNet`.
            weight_normalizer: as in :class:`scb_d2.ScaleBalancedRetinaNet`.
            statistics: how match statistics are logged where ``object_weight`` is given; None: as
                ``scb/first/...`` every 20 iterations.
        """
        super().__init__()
        self.num_classes = num_classes
        self.box2box_transform = box2box_transform
        self.neg_pos_ratio = neg_pos_ratio
        self.smooth_l1_beta = smooth_l1_beta
        self.object_weight = object_weight
        self.loss_weighting = LossWeighting(weighted_losses, weight_normalizer)
        self.statistics = statistics or MatchStatistics("first")

    def label_anchors(
        self, anchors: Boxes | Sequence[Boxes], gt_instances: Sequence[Instances], matcher: Matcher
    ) -> tuple[list[Tensor], list[MatchedObjects]]:
        """Match the anchors of each image to its objects.

        Args:
            anchors: R boxes shared by all images, or R boxes for each image.
            gt_instances: objects of each image.
            matcher: see :func:`match_objects`.

        Returns:
            Per image what :func:`match_objects` returns; both are arguments of :meth:`forward`.
        """
        if isinstance(anchors, Boxes):
            anchors = [anchors] * len(gt_instances)
        pairs = [
            match_objects(boxes, objects, matcher, self.num_classes, self.object_weight)
            for boxes, objects in zip(anchors, gt_instances, strict=True)
        ]
        return [labels for labels, _ in pairs], [matched for _, matched in pairs]

    def forward(
        self,
        anchors: Tensor,
        pred_logits: Tensor,
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Tensor,
        gt_objects: Sequence[MatchedObjects],
        mineable: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            anchors: (R, 4) or, where each image has its own, (N, R, 4), XYXY pixels.
            pred_logits: (N, R, K + 1).
            gt_labels: first output of :meth:`label_anchors`.
            pred_anchor_deltas: (N, R, 4).
            gt_objects: second output of :meth:`label_anchors`.
            mineable: (N, R) bool, negatives that may be mined; None: all.

        Returns:
            Scalars ``loss_cls`` and ``loss_box_reg``.
        """
        labels = torch.stack(list(gt_labels))  # (N, R)
        is_positive = (labels >= 0) & (labels != self.num_classes)
        positive = nonzero_tuple(is_positive)
        num_positive = len(positive[0])
        get_event_storage().put_scalar("num_pos_anchors", num_positive / len(labels))

        cls_losses = F.cross_entropy(
            pred_logits.float().transpose(1, 2), labels, ignore_index=-1, reduction="none"
        )  # (N, R)
        candidates = labels == self.num_classes
        if mineable is not None:
            candidates = candidates & mineable
        num_wanted = (self.neg_pos_ratio * is_positive.sum(dim=1)).floor()  # as Caffe
        mined = hard_negatives(cls_losses, candidates, num_wanted)
        box_losses = box_regression_losses(
            self.box2box_transform,
            anchors.expand(*labels.shape, 4)[positive],
            pred_anchor_deltas[positive],
            positive_gt_boxes(gt_objects, positive),
            smooth_l1_beta=self.smooth_l1_beta,
        )  # (P,)
        weighted = weighted_losses(
            {"cls": cls_losses, "box": box_losses},
            is_positive | mined,
            positive,
            gt_objects,
            self.loss_weighting,
            self.statistics if self.object_weight is not None else None,
            normalizer=max(num_positive, 1),
        )
        return {"loss_cls": weighted["cls"], "loss_box_reg": weighted["box"]}
