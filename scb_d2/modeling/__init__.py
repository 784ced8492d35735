"""Detectron2's detectors with the scale-balanced loss. Importing registers them."""

from .build import build_model, scale_balanced_config
from .retinanet import MatchedObjects, ScaleBalancedRetinaNet

__all__ = ["MatchedObjects", "ScaleBalancedRetinaNet", "build_model", "scale_balanced_config"]
