"""Detectron2's detectors with the scale-balanced loss. Importing registers them."""

from scb_d2.loss.anchor_targets import MatchedObjects

from .box_predictor import ScaleBalancedFastRCNNOutputLayers
from .build import build_model, scale_balanced_config
from .cascade_roi_heads import ScaleBalancedCascadeROIHeads
from .fcos import ScaleBalancedFCOS
from .retinanet import ScaleBalancedRetinaNet
from .roi_heads import (
    ScaleBalancedRes5ROIHeads,
    ScaleBalancedStandardROIHeads,
)
from .rotated import (
    ScaleBalancedRotatedFastRCNNOutputLayers,
    ScaleBalancedRROIHeads,
    ScaleBalancedRRPN,
)
from .rpn import ScaleBalancedRPN

__all__ = [
    "MatchedObjects",
    "ScaleBalancedCascadeROIHeads",
    "ScaleBalancedFCOS",
    "ScaleBalancedFastRCNNOutputLayers",
    "ScaleBalancedRPN",
    "ScaleBalancedRROIHeads",
    "ScaleBalancedRRPN",
    "ScaleBalancedRes5ROIHeads",
    "ScaleBalancedRetinaNet",
    "ScaleBalancedRotatedFastRCNNOutputLayers",
    "ScaleBalancedStandardROIHeads",
    "build_model",
    "scale_balanced_config",
]
