"""Mask R-CNN R50-FPN with the scale-balanced loss: mask_rcnn_scb.yaml as a LazyConfig."""

from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from scb_d2 import MatchStatistics, ScaleBalancedRPN, ScaleBalancedWeight

PARTS = ("dataloader", "lr_multiplier", "model", "optimizer", "train")
stock = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py")
dataloader, lr_multiplier, model, optimizer, train = (stock[part] for part in PARTS)
del stock

model.proposal_generator.update(
    _target_=ScaleBalancedRPN,
    object_weight=L(ScaleBalancedWeight)(form="information", alpha=1.0, beta=3.0),
    match_count="matched",
    weighted_losses=("cls", "box"),
    weight_normalizer="stock",
    statistics=L(MatchStatistics)(stage="first", period=20, max_iter="${train.max_iter}"),
)
