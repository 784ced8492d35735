"""SSD300 and SSD512, and the parts that FSSD, DSSD and RefineDet are made of.

Importing registers the classes with Detectron2.
"""

from .anchor_generator import SSDAnchorGenerator, cell_boxes
from .augmentation import build_ssd_augmentations
from .backbone import SSDVGG, build_ssd_vgg_backbone
from .config import add_ssd_config
from .dataset_mapper import SSDDatasetMapper
from .head import MultiBoxHead
from .inference import detect_objects
from .layers import L2Norm, conv_relu
from .meta_arch import SSD, build_ssd_matcher
from .multibox_loss import MultiBoxLoss, hard_negatives, match_objects
from .vgg import VGG16, scaled_channels
from .weights import convert_weights

__all__ = [
    "SSD",
    "SSDVGG",
    "VGG16",
    "L2Norm",
    "MultiBoxHead",
    "MultiBoxLoss",
    "SSDAnchorGenerator",
    "SSDDatasetMapper",
    "add_ssd_config",
    "build_ssd_augmentations",
    "build_ssd_matcher",
    "build_ssd_vgg_backbone",
    "cell_boxes",
    "conv_relu",
    "convert_weights",
    "detect_objects",
    "hard_negatives",
    "match_objects",
    "scaled_channels",
]
