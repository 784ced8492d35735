"""A training step on the CPU with the loss on and in bfloat16 against stock Detectron2."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from detectron2.utils.events import EventStorage
from torch import nn

from scb_d2 import build_model
from scb_d2.engine.device import cpu_has_bfloat16
from scb_d2.engine.training.bfloat16 import lay_out_for_bfloat16

from .harness import Ratio, compare
from .scenes import batch, config

_CONFIGS = {
    "RetinaNet R50-FPN": ("configs/retinanet_scb.yaml", (320, 480)),
    "Faster R-CNN R50-FPN": ("configs/faster_rcnn_scb.yaml", (320, 480)),
}


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Both together, and what the layout of the weights does; CPUs without bfloat16 have no row."""
    if device != "cpu" or not cpu_has_bfloat16():
        return
    pairs = 3 if quick else 9
    for name, (path, size) in list(_CONFIGS.items())[: 1 if quick else None]:
        ours = build_model(config(path, "MODEL.DEVICE", "cpu"))
        stock = build_model(config(path, "MODEL.DEVICE", "cpu", "MODEL.SCB.ENABLED", False))
        data = batch(1 if quick else 2, *size)
        with EventStorage():
            laid_out = lay_out_for_bfloat16(copy.deepcopy(ours))
            candidate = _step(laid_out, data, True)
            yield compare(
                f"training step in bfloat16 / stock's in float32, {name}",
                *(candidate, _step(stock, data, False), pairs, device, 0.6),
            )
            yield compare(
                f"training step in bfloat16 with channels last / without, {name}",
                *(candidate, _step(ours, data, True), pairs, device),
            )


def _step(model: nn.Module, data: list[dict], in_bfloat16: bool) -> Callable[[], None]:
    """As a step of the trainer, without the optimizer's."""
    model.train()

    def step() -> None:
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16):
            losses = model(data)
        model.zero_grad()
        sum(losses.values()).backward()

    return step
