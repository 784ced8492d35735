"""What RetinaNet, RPN and FCOS have in common once their anchors are weighted.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    P: positive anchors of the batch
"""

from collections.abc import Sequence
from typing import Any

from detectron2.layers import cat
from detectron2.structures import Boxes, Instances
from torch import Tensor

from scb_d2.loss.anchor_targets import (
    MatchedObjects,
    ObjectWeight,
    class_labels,
    matched_objects,
)
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.matching import match_anchors
from scb_d2.loss.unreduced_losses import box_regression_losses
from scb_d2.loss.weighted_losses import LossWeighting, positive_gt_boxes, weighted_losses

__all__ = ["WeighsAnchors"]


class WeighsAnchors:
    """Mixin of detectors that label anchors: their positives weigh what their object does.

    Goes before the stock class, whose ``label_anchors`` returns a :class:`.MatchedObjects` of each
    image in place of the boxes alone and whose ``losses`` end in :meth:`_weighted`.
    """

    scb_stages = ("first",)
    loss_names = ("cls", "box")

    def __init__(
        self,
        *,
        object_weight: ObjectWeight | None = None,
        weighted_losses: Sequence[str] | None = None,
        weight_normalizer: str = "stock",
        statistics: MatchStatistics | None = None,
        **kwargs: Any,
    ):
        """Build the detector from its parts.

        Args:
            object_weight: weight per anchor from (matched_idxs, anchor_labels, gt_boxes) of an
                image, usually a :class:`scb_d2.ScaleBalancedWeight`. None: the stock detector.
            weighted_losses: which of the class's ``loss_names`` the weights multiply; None: all.
            weight_normalizer: ``"stock"`` or ``"mean_one"`` over the positives that count in the
                loss, see :class:`scb_d2.loss.weighted_losses.LossWeighting`.
            statistics: how match statistics are logged; None: as ``scb/first/...`` every 20
                iterations.
            **kwargs: of the stock class. For ``low_quality="reassign"`` give a
                :class:`scb_d2.ScaleBalancedMatcher` as ``anchor_matcher``, for ATSS an
                :class:`scb_d2.ATSSMatcher`; the latter acts without an ``object_weight`` too.

        Raises:
            ConfigError: if a choice is not allowed.
        """
        super().__init__(**kwargs)
        self.object_weight = object_weight
        if weighted_losses is None:
            weighted_losses = self.loss_names
        self.loss_weighting = LossWeighting(weighted_losses, weight_normalizer, self.loss_names)
        self.statistics = statistics or MatchStatistics("first")

    def _labelled(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances], matcher: Any
    ) -> tuple[list[Tensor], list[MatchedObjects]]:
        """Class labels and matched objects of each image, for detectors of classes.

        Args:
            anchors: of each feature level.
            gt_instances: of each image.
            matcher: see :func:`scb_d2.loss.matching.match_anchors`.
        """
        level_sizes, anchors = [len(x) for x in anchors], Boxes.cat(anchors)
        gt_labels, objects = [], []
        for gt_per_image in gt_instances:
            gt_boxes, gt_classes = gt_per_image.gt_boxes, gt_per_image.gt_classes
            matched_idxs, anchor_labels = match_anchors(gt_boxes, anchors, level_sizes, matcher)
            gt_labels.append(
                class_labels(matched_idxs, anchor_labels, gt_classes, self.num_classes)
            )
            objects.append(
                matched_objects(matched_idxs, anchor_labels, gt_boxes, self.object_weight)
            )
        return gt_labels, objects

    def _box_losses(
        self,
        anchors: Sequence[Boxes],
        pred_anchor_deltas: Sequence[Tensor],
        positive: tuple[Tensor, Tensor],
        gt_objects: Sequence[MatchedObjects],
        box_reg_loss_type: str,
        smooth_l1_beta: float = 0.0,
    ) -> Tensor:
        """(P,) box loss of each positive anchor.

        Args:
            anchors: of each feature level.
            pred_anchor_deltas: of each feature level, (N, anchors of the level, 4).
            positive: (P,) images and (P,) anchors.
            gt_objects: of each image.
            box_reg_loss_type: see :func:`box_regression_losses`.
            smooth_l1_beta: see :func:`box_regression_losses`.
        """
        return box_regression_losses(
            self.box2box_transform,
            type(anchors[0]).cat(anchors).tensor[positive[1]],
            cat(pred_anchor_deltas, dim=1)[positive],
            positive_gt_boxes(gt_objects, positive),
            box_reg_loss_type,
            smooth_l1_beta,
        )

    def _weighted(
        self,
        losses: dict[str, Tensor],
        counted: Tensor,
        positive: tuple[Tensor, Tensor],
        gt_objects: Sequence[MatchedObjects],
        normalizer: float,
        factors: dict[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """See :func:`scb_d2.loss.weighted_losses.weighted_losses`."""
        return weighted_losses(
            losses,
            counted,
            positive,
            gt_objects,
            self.loss_weighting,
            self.statistics,
            normalizer,
            factors,
        )
