"""FCOS R50-FPN with the scale-balanced loss on Detectron2's COCO-Detection/fcos_R_50_FPN_1x.py."""

from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from scb_d2 import MatchStatistics, ScaleBalancedFCOS, ScaleBalancedWeight

PARTS = ("dataloader", "lr_multiplier", "model", "optimizer", "train")
stock = get_config("COCO-Detection/fcos_R_50_FPN_1x.py")
dataloader, lr_multiplier, model, optimizer, train = (stock[part] for part in PARTS)
del stock

model._target_ = ScaleBalancedFCOS
model.object_weight = L(ScaleBalancedWeight)(form="information", alpha=1.0, beta=3.0)
model.weighted_losses = ("cls", "box", "centerness")
model.weight_normalizer = "stock"
model.statistics = L(MatchStatistics)(stage="first", period=20, max_iter="${train.max_iter}")
