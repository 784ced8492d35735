"""Small detectors and batches for tests."""

import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.model_zoo import get_config
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from scb_d2 import ScaleBalancedFCOS, ScaleBalancedWeight, build_model, get_cfg


def retinanet_config(*opts, enabled=True):
    """RetinaNet R18-FPN with narrow features on the CPU, plus KEY, VALUE pairs."""
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "RetinaNet"),
            *("MODEL.DEVICE", "cpu"),
            *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"),
            *("MODEL.RESNETS.DEPTH", 18),
            *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
            *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
            *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
            *("MODEL.FPN.OUT_CHANNELS", 16),
            *("MODEL.RETINANET.NUM_CONVS", 1),
            *("MODEL.RETINANET.NUM_CLASSES", 5),
            *("MODEL.RETINANET.SMOOTH_L1_LOSS_BETA", 0.0),
            *("MODEL.RETINANET.IOU_THRESHOLDS", [0.4, 0.5]),
            *("MODEL.RETINANET.IOU_LABELS", [0, -1, 1]),
            *(
                "MODEL.ANCHOR_GENERATOR.SIZES",
                [[s, s * 1.26, s * 1.6] for s in (16, 32, 64, 96, 128)],
            ),
            *("MODEL.SCB.ENABLED", enabled),
            *opts,
        ]
    )
    return cfg


def fcos(enabled=True, norm="FrozenBN", **arguments):
    """FCOS R18-FPN with narrow features on the CPU: ours with the loss on, or the stock class."""
    model = get_config("common/models/fcos.py").model
    model._target_ = ScaleBalancedFCOS if enabled else FCOS
    model.num_classes = 5
    model.backbone.bottom_up.stages.depth = 18
    model.backbone.bottom_up.stages.norm = norm
    model.backbone.bottom_up.stages.pop("stride_in_1x1")  # basic blocks have no 1x1 convolution
    model.backbone.out_channels = 16
    model.backbone.top_block.in_channels = 16
    for shape in model.head.input_shape:
        shape.channels = 16
    model.head.conv_dims, model.head.norm = [16], ""
    if enabled:
        model.object_weight = L(ScaleBalancedWeight)()
    for name, argument in arguments.items():
        model[name] = argument
    return instantiate(model)


def image(boxes, classes=None, size=96):
    """One mapped training image with these objects."""
    instances = Instances((size, size))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    classes = classes or [i % 5 for i in range(len(boxes))]
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return {"image": torch.rand(3, size, size) * 255, "instances": instances}


def batch():
    """An image with a small, a large and two identical objects, and one without any."""
    return [
        image([[10, 10, 22, 21], [20, 25, 90, 80], [50, 5, 80, 30], [50, 5, 80, 30]]),
        image([]),
    ]


def train_step(model, data):
    """Losses, gradients by parameter name, and the scalars logged in one training step.

    What the step samples is fixed.
    """
    torch.manual_seed(1)
    model.train().zero_grad()
    with EventStorage() as storage:
        losses = model(data)
        sum(losses.values()).backward()
        scalars = {name: value for name, (value, _) in storage.latest().items()}
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, scalars


def pair(ours, stock):
    """Our detector and its stock counterpart from two configs, with the same weights."""
    ours, stock = build_model(ours), build_model(stock)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def assert_same_training(ours, stock, data, rtol=0.0):
    """Both give the same losses and gradients; ``rtol`` 0 means bit for bit."""
    losses, gradients, _ = train_step(ours, data)
    expected_losses, expected_gradients, _ = train_step(stock, data)
    assert losses.keys() == expected_losses.keys() and gradients.keys() == expected_gradients.keys()
    for name, expected in {**expected_losses, **expected_gradients}.items():
        actual = losses[name] if name in losses else gradients[name]
        scale = rtol * expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=scale, msg=name)
