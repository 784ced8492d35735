"""RetinaNet R50-FPN with the scale-balanced loss: retinanet_scb.yaml as a LazyConfig."""

from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from scb_d2 import MatchStatistics, ScaleBalancedRetinaNet, ScaleBalancedWeight

PARTS = ("dataloader", "lr_multiplier", "model", "optimizer", "train")
stock = get_config("COCO-Detection/retinanet_R_50_FPN_1x.py")
dataloader, lr_multiplier, model, optimizer, train = (stock[part] for part in PARTS)
del stock

model._target_ = ScaleBalancedRetinaNet
model.object_weight = L(ScaleBalancedWeight)(form="information", alpha=1.0, beta=3.0)
model.weighted_losses = ("cls", "box")
model.weight_normalizer = "stock"
model.statistics = L(MatchStatistics)(stage="first", period=20, max_iter="${train.max_iter}")
