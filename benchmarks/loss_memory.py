"""Peak memory of the losses of RetinaNet and FCOS, 80 classes, 2 images of 800 x 1,333."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from scb_d2 import (
    MatchStatistics,
    ScaleBalancedFCOS,
    ScaleBalancedMatcher,
    ScaleBalancedRetinaNet,
    ScaleBalancedWeight,
)

from .harness import Ratio, allocated_mb, from_pairs, printed_by
from .scenes import batch

_STRIDES = (8, 16, 32, 64, 128)
_CLASSES, _IMAGES, _SIZE = 80, 2, (800, 1344)  # 1,333 after padding
_FRESH = """
from benchmarks.harness import extra_peak_mb
from benchmarks.loss_memory import losses_of
settings = ({kind!r}, {weighted}, "cpu", {size})
for _ in range(2):  # TorchScript compiles on its first calls
    losses_of(*settings)()
print(extra_peak_mb(losses_of(*settings)))
"""


class _Nothing(Backbone):
    """Stands where a backbone must; predictions are drawn instead."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"p{n + 3}": ShapeSpec(channels=8, stride=s) for n, s in enumerate(_STRIDES)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError  # only losses are asked for


def losses_of(kind: str, weighted: bool, device: str, size: tuple[int, int] = _SIZE) -> Any:
    """A call that labels anchors, computes the losses of random predictions, and their gradients.

    Args:
        kind: ``RetinaNet`` or ``FCOS``.
        weighted: whether the scale-balanced loss is on.
        device: where.
        size: height and width of the images.
    """
    torch.manual_seed(0)
    model = {"RetinaNet": _retinanet, "FCOS": _fcos}[kind](weighted).to(device).train()
    grids = [(-(-size[0] // s), -(-size[1] // s)) for s in _STRIDES]
    maps = [torch.empty(1, device=device).expand(1, 1, *grid) for grid in grids]
    anchors = model.anchor_generator(maps)
    targets = [x["instances"].to(device) for x in batch(_IMAGES, *size, 20)]
    widths = {"cls": _CLASSES, "box": 4} | ({"ctr": 1} if kind == "FCOS" else {})
    predictions = {
        name: [
            torch.randn(_IMAGES, len(level), width, device=device).requires_grad_()
            for level in anchors
        ]
        for name, width in widths.items()
    }

    def losses() -> dict[str, Tensor]:  # as in `forward`, labels are gone before the gradients
        labels, boxes = model.label_anchors(anchors, targets)
        extra = [predictions["ctr"]] if kind == "FCOS" else []
        with EventStorage() as storage:
            storage.iter = 1
            return model.losses(
                anchors, predictions["cls"], labels, predictions["box"], boxes, *extra
            )

    return lambda: sum(losses().values()).backward()


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Peak beyond that of anchors and predictions, labels included, against stock."""
    size = (96, 128) if quick else _SIZE
    for kind in ("RetinaNet", "FCOS"):
        peaks = [_peak(kind, weighted, device, size) for weighted in (True, False)]
        name = f"peak memory of labels, losses and gradients, {kind}, {_IMAGES} images"
        yield from_pairs(f"{name} of {size[0]} x {size[1]}", [tuple(peaks)], "MB", 1.0)


def _peak(kind: str, weighted: bool, device: str, size: tuple[int, int]) -> float:
    if device != "cpu":
        return allocated_mb(losses_of(kind, weighted, device, size))
    return float(printed_by(_FRESH.format(kind=kind, weighted=weighted, size=size)))


def _weighting(weighted: bool) -> dict[str, Any]:
    if not weighted:
        return {}
    statistics = MatchStatistics("first", period=10**9)
    return {"object_weight": ScaleBalancedWeight(), "statistics": statistics}


def _retinanet(weighted: bool) -> nn.Module:
    generator = DefaultAnchorGenerator(
        sizes=[[4 * s, 5.04 * s, 6.35 * s] for s in _STRIDES],
        aspect_ratios=[[0.5, 1.0, 2.0]],
        strides=list(_STRIDES),
    )
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    matcher = ScaleBalancedMatcher if weighted else Matcher
    return (ScaleBalancedRetinaNet if weighted else RetinaNet)(
        backbone=_Nothing(),
        head=RetinaNetHead(
            input_shape=[ShapeSpec(channels=8)] * len(_STRIDES),
            num_classes=_CLASSES,
            num_anchors=9,
            conv_dims=[8],
        ),
        head_in_features=[f"p{n}" for n in range(3, 8)],
        anchor_generator=generator,
        box2box_transform=transform,
        anchor_matcher=matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        num_classes=_CLASSES,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        **_weighting(weighted),
    )


def _fcos(weighted: bool) -> nn.Module:
    return (ScaleBalancedFCOS if weighted else FCOS)(
        backbone=_Nothing(),
        head=FCOSHead(
            input_shape=[ShapeSpec(channels=8, stride=s) for s in _STRIDES],
            num_classes=_CLASSES,
            conv_dims=[8],
        ),
        head_in_features=[f"p{n}" for n in range(3, 8)],
        box2box_transform=Box2BoxTransformLinear(normalize_by_size=True),
        num_classes=_CLASSES,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        **_weighting(weighted),
    )
