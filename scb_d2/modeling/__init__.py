"""Detectron2's detectors with the scale-balanced loss. Importing registers them."""

from .build import build_model, check_model, scale_balanced_config
from .fast_rcnn import ScaleBalancedFastRCNNOutputLayers
from .matched_objects import MatchedObjects
from .retinanet import ScaleBalancedRetinaNet
from .roi_heads import (
    ScaleBalancedCascadeROIHeads,
    ScaleBalancedRes5ROIHeads,
    ScaleBalancedStandardROIHeads,
)
from .rpn import ScaleBalancedRPN

__all__ = [
    "MatchedObjects",
    "ScaleBalancedCascadeROIHeads",
    "ScaleBalancedFastRCNNOutputLayers",
    "ScaleBalancedRPN",
    "ScaleBalancedRes5ROIHeads",
    "ScaleBalancedRetinaNet",
    "ScaleBalancedStandardROIHeads",
    "build_model",
    "check_model",
    "scale_balanced_config",
]
