"""RefineDet: SSD's anchors refined by a first stage (ARM), classified by a second (ODM).

Importing registers the classes with Detectron2.
"""

from .backbone import build_refinedet_vgg_backbone
from .config import add_refinedet_config
from .head import RefineDetHead
from .meta_arch import RefineDet
from .refinement import is_negative_anchor, refine_anchors
from .transfer_connection import TransferConnection

__all__ = [
    "RefineDet",
    "RefineDetHead",
    "TransferConnection",
    "add_refinedet_config",
    "build_refinedet_vgg_backbone",
    "is_negative_anchor",
    "refine_anchors",
]
