"""Faster R-CNN R50-FPN with the scale-balanced loss: faster_rcnn_scb.yaml as a LazyConfig."""

from .mask_rcnn_scb import dataloader, lr_multiplier, model, optimizer, train

for key in ("mask_in_features", "mask_pooler", "mask_head"):
    model.roi_heads.pop(key)
dataloader.train.mapper.use_instance_mask = False
