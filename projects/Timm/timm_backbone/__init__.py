"""Convolutional networks of timm (PyTorch Image Models) as backbones of Detectron2's detectors.

Importing registers the backbones with Detectron2, and ``timm://<name>`` as a path of weights.
"""

from detectron2.utils.file_io import PathManager

from .backbone import (
    TimmBackbone,
    build_retinanet_timm_fpn_backbone,
    build_timm_backbone,
    build_timm_fpn_backbone,
)
from .config import add_timm_backbone_config
from .weights import TimmWeights

__all__ = [
    "TimmBackbone",
    "TimmWeights",
    "add_timm_backbone_config",
    "build_retinanet_timm_fpn_backbone",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
]

PathManager.register_handler(TimmWeights())
