"""The laptop's RetinaNet with the loss: laptop_retinanet_scb.yaml as a LazyConfig."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import CosineParamScheduler

from scb_d2.data.registration import register_blood_cells
from scb_d2.projects.timm_backbone import TimmBackbone

from .retinanet_scb import dataloader, model, optimizer, train

register_blood_cells()

SIZE, CLASSES, CHANNELS = 320, 3, 64

model.update(
    num_classes=CLASSES,
    # What EfficientNet-Lite was trained with.
    pixel_mean=[127.0, 127.0, 127.0],
    pixel_std=[128.0, 128.0, 128.0],
    input_format="RGB",
)
model.backbone.update(
    bottom_up=L(TimmBackbone)(
        name="tf_efficientnet_lite0",
        out_features=["c3", "c4", "c5"],
        norm="FrozenBN",
        freeze_at=2,
    ),
    in_features=["c3", "c4", "c5"],
    out_channels=CHANNELS,
    norm="GN",
)
model.backbone.top_block.update(in_channels="${..out_channels}", in_feature="p5")
model.head.input_shape = [ShapeSpec(channels=CHANNELS)] * 5
model.head.update(conv_dims=[CHANNELS] * 2, norm="GN")
model.anchor_generator.sizes = [
    [16, 20.2, 25.4],
    [32, 40.3, 50.8],
    [64, 80.6, 101.6],
    [128, 161.3, 203.2],
    [256, 322.5, 406.4],
]

resize = {"short_edge_length": SIZE, "max_size": SIZE}
dataloader.train.dataset.names = "blood_cells_train"
dataloader.test.dataset.names = "blood_cells_test"
dataloader.train.mapper.augmentations[0].update(**resize)
dataloader.test.mapper.augmentations[0].update(**resize)
dataloader.train.mapper.image_format = "RGB"
dataloader.train.update(total_batch_size=4, num_workers=2)

train.update(
    init_checkpoint="timm://tf_efficientnet_lite0",
    max_iter=300,
    eval_period=300,
    checkpointer={"period": 100, "max_to_keep": 100},
    output_dir="./output/laptop_retinanet_scb",
    seed=1,
)
optimizer.lr = 0.05
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.0),
    warmup_length=50 / 300,
    warmup_method="linear",
    warmup_factor=0.001,
)
