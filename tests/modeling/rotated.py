"""A small detector of rotated boxes and its training images."""

import torch
from detectron2.structures import Instances, RotatedBoxes

from .rcnn import STANDARD, rcnn_config


def rotated_config(*opts, enabled=True):
    """RRPN and RROIHeads on the CPU, plus KEY, VALUE pairs."""
    return rcnn_config(
        STANDARD,
        *("MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", "MODEL.ROI_HEADS.NAME", "RROIHeads"),
        *("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator"),
        *("MODEL.ANCHOR_GENERATOR.ANGLES", [[-45, 0, 45]]),
        *("MODEL.RPN.BBOX_REG_WEIGHTS", (1.0,) * 5),
        *("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0, 1.0)),
        *("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated"),
        *opts,
        enabled=enabled,
    )


def rotated_image(boxes, size=96):
    """One mapped training image with these objects."""
    instances = Instances((size, size))
    instances.gt_boxes = RotatedBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5))
    instances.gt_classes = torch.arange(len(boxes)) % 5
    return {"image": torch.rand(3, size, size) * 255, "instances": instances}
