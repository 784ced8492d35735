"""Faster R-CNN R50-FPN on rotated boxes with the scale-balanced loss.

For data sets registered in Python whose boxes are ``BoxMode.XYWHA_ABS``; see docs/detectors.md.
Needs Detectron2's compiled operators.
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import RotatedCOCOEvaluator
from detectron2.modeling.anchor_generator import RotatedAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransformRotated
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RotatedFastRCNNOutputLayers, RROIHeads

from scb_d2 import ScaleBalancedRRPN
from scb_d2.data.rotated_mapper import RotatedDatasetMapper

from .faster_rcnn_scb import dataloader, lr_multiplier, model, optimizer, train

rpn, heads = model.proposal_generator, model.roi_heads
rpn.update(
    _target_=ScaleBalancedRRPN,
    anchor_generator=L(RotatedAnchorGenerator)(
        sizes=[[32], [64], [128], [256], [512]],
        aspect_ratios=[0.5, 1.0, 2.0],
        angles=[-90, -60, -30, 0, 30, 60],
        strides=[4, 8, 16, 32, 64],
    ),
    box2box_transform=L(Box2BoxTransformRotated)(weights=[1.0, 1.0, 1.0, 1.0, 1.0]),
)
rpn.head.update(num_anchors=18, box_dim=5)
heads._target_ = RROIHeads
heads.box_pooler.pooler_type = "ROIAlignRotated"
heads.box_predictor.update(
    _target_=RotatedFastRCNNOutputLayers,
    box2box_transform=L(Box2BoxTransformRotated)(weights=(10, 10, 5, 5, 1)),
)
dataloader.train.mapper._target_ = RotatedDatasetMapper
dataloader.evaluator.update(
    _target_=RotatedCOCOEvaluator, output_dir="${train.output_dir}/inference"
)
del rpn, heads
