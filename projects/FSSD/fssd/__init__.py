"""FSSD300 and FSSD512: SSD on a pyramid that grows from one fused map.

Importing registers the backbone with Detectron2; the detector around it is SSD.
"""

from .backbone import FSSDVGG, build_fssd_vgg_backbone
from .config import add_fssd_config
from .fusion import FeatureFusion

__all__ = [
    "FSSDVGG",
    "FeatureFusion",
    "add_fssd_config",
    "build_fssd_vgg_backbone",
]
