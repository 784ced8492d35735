"""Rotated boxes: RRPN and rotated ROI heads with the scale-balanced loss.

They need Detectron2's compiled operators, without which they are not built. An object's box is
(centre x, centre y, width, height, angle in degrees); matching, sampling, divisors and inference
are Detectron2's.
"""

from typing import Any

from detectron2.config import configurable
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rrpn import RRPN
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RotatedFastRCNNOutputLayers, RROIHeads
from detectron2.structures import Instances

from scb_d2.loss.matching import match_boxes

from .box_predictor import ScaleBalancedFastRCNNOutputLayers
from .compiled_operators import check_rotated
from .roi_heads import WeighsProposals, with_fields
from .rpn import ScaleBalancedRPN

__all__ = [
    "ScaleBalancedRROIHeads",
    "ScaleBalancedRRPN",
    "ScaleBalancedRotatedFastRCNNOutputLayers",
]


class _NeedsOperators:
    """Mixin of modules that Detectron2's Python-only builds cannot run."""

    def __init__(self, **kwargs: Any):
        """Build the module from its parts, the arguments of the next class.

        Raises:
            ConfigError: if the installed Detectron2 lacks its compiled operators.
        """
        check_rotated(type(self).__name__)
        super().__init__(**kwargs)


@PROPOSAL_GENERATOR_REGISTRY.register()
class ScaleBalancedRRPN(_NeedsOperators, ScaleBalancedRPN, RRPN):
    """Detectron2's rotated RPN whose positive anchors are weighted by their object's matches."""

    takes_anchor_matcher = False

    __init__ = configurable(_NeedsOperators.__init__)


class ScaleBalancedRotatedFastRCNNOutputLayers(
    ScaleBalancedFastRCNNOutputLayers, RotatedFastRCNNOutputLayers
):
    """Detectron2's rotated box predictor, multiplying losses by the proposals' weights."""


@ROI_HEADS_REGISTRY.register()
class ScaleBalancedRROIHeads(_NeedsOperators, WeighsProposals, RROIHeads):
    """Detectron2's rotated ROI heads whose foreground proposals are weighted by object."""

    predictor_class = ScaleBalancedRotatedFastRCNNOutputLayers

    __init__ = configurable(_NeedsOperators.__init__)

    def _with_object_ids(
        self, proposals: Instances, targets: Instances
    ) -> tuple[Instances, Instances]:
        # RROIHeads copies no field of the targets but the boxes, so proposals carry the index.
        boxes = proposals.proposal_boxes
        if self.proposal_append_gt:
            boxes = type(boxes).cat([boxes, targets.gt_boxes])
        matched_idxs, _ = match_boxes(targets.gt_boxes, boxes, self.proposal_matcher)
        own, appended = matched_idxs[: len(proposals)], matched_idxs[len(proposals) :]
        if self.proposal_append_gt:
            targets = with_fields(targets, gt_object_ids=appended)
        return with_fields(proposals, gt_object_ids=own), targets
