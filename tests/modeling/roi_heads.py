"""ROI heads, proposals and objects for tests."""

import torch
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from scb_d2 import (
    ScaleBalancedCascadeROIHeads,
    ScaleBalancedRes5ROIHeads,
    ScaleBalancedStandardROIHeads,
)
from tests import oracle

from .detectors import image
from .rcnn import CASCADE, RES5, STANDARD, feature_shapes, rcnn_config

OURS = {
    STANDARD: ScaleBalancedStandardROIHeads,
    RES5: ScaleBalancedRes5ROIHeads,
    CASCADE: ScaleBalancedCascadeROIHeads,
}
STOCK = {STANDARD: StandardROIHeads, RES5: Res5ROIHeads, CASCADE: CascadeROIHeads}
SECOND = ("MODEL.SCB.STAGES", ("second",))
OBJECTS = [[10, 10, 22, 21], [20, 25, 90, 80], [20, 25, 90, 80], [50, 5, 80, 30]]


def config(kind, *opts):
    return rcnn_config(kind, *SECOND, *opts)


def stock_config(kind, *opts):
    return rcnn_config(kind, *opts, enabled=False)


def off_config(kind, *opts):
    return stock_config(kind, "MODEL.ROI_HEADS.NAME", OURS[kind].__name__, *opts)


def targets(boxes):
    return image(boxes)["instances"]


def proposals(boxes):
    instances = Instances((96, 96))
    instances.proposal_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.objectness_logits = torch.zeros(len(boxes))
    return instances


def shifted(box, shifts):
    """The box moved sideways: overlaps of all sizes."""
    return [[box[0] + s, box[1], box[2] + s, box[3]] for s in shifts]


PROPOSALS = [
    *shifted(OBJECTS[0], [-9, -3, -1, 0, 2]),
    *shifted(OBJECTS[1], range(-25, 20, 3)),
    *shifted(OBJECTS[3], [1, 2, 3, 14]),
    [0, 60, 15, 90],
]


def sample(heads, proposals_of_images, targets_of_images):
    torch.manual_seed(2)
    with EventStorage() as storage:
        sampled = heads.label_and_sample_proposals(proposals_of_images, targets_of_images)
        return sampled, {k: v for k, (v, _) in storage.latest().items()}


def build_heads(*opts, kind=STANDARD):
    return OURS[kind](config(kind, *opts), feature_shapes())


def matched_by_oracle(boxes, objects, threshold=0.5):
    quality = pairwise_iou(Boxes(torch.tensor(objects).float()), Boxes(torch.tensor(boxes).float()))
    return oracle.match(quality.tolist(), [threshold], [0, 1])
