"""Cascade R-CNN R50-FPN with the scale-balanced loss: cascade_rcnn_scb.yaml as a LazyConfig."""

from detectron2.model_zoo import get_config

from .mask_rcnn_scb import dataloader, lr_multiplier, model, optimizer, train

model.roi_heads = get_config("common/models/cascade_rcnn.py").model.roi_heads
for key in ("mask_in_features", "mask_pooler", "mask_head"):
    model.roi_heads.pop(key)
model.proposal_generator.post_nms_topk = (2000, 1000)
dataloader.train.mapper.use_instance_mask = False
