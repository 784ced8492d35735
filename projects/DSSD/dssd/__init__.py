"""DSSD321 and DSSD513, and the SSD321 and SSD513 that they start from, on ResNet-101.

Importing registers the classes with Detectron2.
"""

from .backbone import DSSDResNet, build_dssd_resnet_backbone
from .config import add_dssd_config
from .deconvolution import DeconvolutionModule
from .head import DSSDHead
from .layers import CeilStem, ResidualBlock
from .meta_arch import DSSD

__all__ = [
    "DSSD",
    "CeilStem",
    "DSSDHead",
    "DSSDResNet",
    "DeconvolutionModule",
    "ResidualBlock",
    "add_dssd_config",
    "build_dssd_resnet_backbone",
]
