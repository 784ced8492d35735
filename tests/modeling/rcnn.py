"""Small R-CNN detectors for tests."""

from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes

from scb_d2 import get_cfg

STANDARD, RES5, CASCADE = "StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads"
KINDS = (STANDARD, RES5, CASCADE)
BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")

FEATURES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def rcnn_config(kind=STANDARD, *opts, enabled=True):
    """R18 with five classes on the CPU: FPN, or C4 for Res5ROIHeads; plus KEY, VALUE pairs."""
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
            *("MODEL.DEVICE", "cpu"),
            *("MODEL.BACKBONE.FREEZE_AT", 0),
            *("MODEL.RESNETS.DEPTH", 18),
            *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
            *("MODEL.RESNETS.NORM", "BN"),  # keeps features small without pretraining
            *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 200),
            *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 40),
            *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 64),
            *("MODEL.RPN.IOU_THRESHOLDS", [0.25, 0.45]),
            *("MODEL.ROI_HEADS.NAME", kind),
            *("MODEL.ROI_HEADS.NUM_CLASSES", 5),
            *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 24),
            *("MODEL.SCB.ENABLED", enabled),
        ]
    )
    if kind == RES5:
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8, 16, 32, 64]]
        cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 4
        cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 12
    else:
        cfg.merge_from_list(
            [
                *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
                *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"]),
                *("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]),
                *("MODEL.FPN.OUT_CHANNELS", 16),
                *("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]]),
                *("MODEL.RPN.IN_FEATURES", list(FEATURES)),
                *("MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p3", "p4", "p5"]),
                *("MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead"),
                *("MODEL.ROI_BOX_HEAD.NUM_FC", 1),
                *("MODEL.ROI_BOX_HEAD.FC_DIM", 32),
                *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 3),
                *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", kind == CASCADE),
            ]
        )
    cfg.merge_from_list(list(opts))
    return cfg


def feature_shapes(channels=16):
    """What an FPN backbone tells the heads."""
    return {name: ShapeSpec(channels=channels, stride=s) for name, s in FEATURES.items()}


def sample_anchors(rpn, features, targets):
    """Anchors of an image, and per image labels and matched objects."""
    anchors = rpn.anchor_generator([features[f] for f in rpn.in_features])
    labels, matched = rpn.label_and_sample_anchors(anchors, targets)
    return Boxes.cat(anchors), labels, matched
