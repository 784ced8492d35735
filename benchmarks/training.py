"""A training step and inference with the loss on against off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn

from scb_d2 import MatchStatistics, build_model
from scb_d2.projects.ssd import MultiBoxLoss

from .harness import Ratio, compare, from_pairs, seconds
from .scenes import batch, config

_CONFIGS = {
    "RetinaNet R50-FPN": ("configs/retinanet_scb.yaml", (), (320, 480)),
    "Faster R-CNN R50-FPN": ("configs/faster_rcnn_scb.yaml", (), (320, 480)),
    "SSD300": ("projects/SSD/configs/ssd300_voc_scb.yaml", (), (300, 300)),
}
_NEVER = 10**9
_LABELLING = ("label_anchors", "label_and_sample_anchors", "losses")


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Step on / off, time added inside labelling and losses, inference, state."""
    for name, (path, opts, size) in list(_CONFIGS.items())[: 1 if quick else None]:
        # Weight statistics are logged once, in the warm-up, and not again.
        cfg = config(path, "MODEL.DEVICE", device, "MODEL.SCB.LOG_PERIOD", _NEVER, *opts)
        on, off = _pair(cfg)
        data = batch(2, *size)
        with EventStorage() as storage:
            storage.iter = 1
            pairs = 3 if quick else 11
            step = [_step(model, data) for model in (on, off)]
            yield compare(f"training step, {name}", *step, pairs, device, target=1.005)
            yield _added(name, (on, off), step, pairs, device)
            yield _logging(name, on, data, pairs, device)
            yield _inference(name, on, off, data, pairs, device)


def _pair(cfg: CfgNode) -> tuple[nn.Module, nn.Module]:
    stock = cfg.clone()
    stock.MODEL.SCB.ENABLED = False
    on, off = build_model(cfg), build_model(stock)
    same_keys = on.state_dict().keys() == off.state_dict().keys()
    assert same_keys, "the loss must not change the checkpoint"
    off.load_state_dict(on.state_dict())
    return on, off


def _step(model: nn.Module, data: list[dict[str, Any]]) -> Callable[[], None]:
    model.train()

    def step() -> None:
        torch.manual_seed(0)
        model.zero_grad()
        sum(model(data).values()).backward()

    return step


def _added(
    name: str,
    models: tuple[nn.Module, nn.Module],
    steps: list[Callable[[], None]],
    pairs: int,
    device: str,
) -> Ratio:
    """(1 + time added in labelling and losses) / 1, as a share of the stock step."""
    rows = []
    for _ in range(pairs):
        inside = []
        for model, step in zip(models, steps, strict=True):
            with _stopwatch(model, device) as spent:
                start = time.perf_counter()
                step()
                inside.append((sum(spent), time.perf_counter() - start))
        (ours, _), (stock, whole) = inside
        rows.append((whole + ours - stock, whole))
    return from_pairs(f"step + time added in labelling and losses, {name}", rows, "s", 1.005)


def _logging(
    name: str, model: nn.Module, data: list[dict[str, Any]], pairs: int, device: str
) -> Ratio:
    """A step with its share of statistics at the default period of 20 / a step without."""
    step, rows = _step(model, data), []
    statistics = [m for m in vars_of(model) if isinstance(m, MatchStatistics)]
    for _ in range(pairs):
        without = seconds(step, device)
        for entry in statistics:
            entry.period = 1
        logged = seconds(step, device)
        for entry in statistics:
            entry.period = _NEVER
        rows.append((without + (logged - without) / 20, without))
    return from_pairs(f"step with statistics every 20 iterations, {name}", rows, "s")


def vars_of(model: nn.Module) -> list[Any]:
    """Plain attributes of all modules."""
    return [value for module in model.modules() for value in vars(module).values()]


@contextmanager
def _stopwatch(model: nn.Module, device: str) -> Iterator[list[float]]:
    """Seconds spent in the methods of ``model`` that label anchors and compute losses."""
    spent: list[float] = []
    watched = [
        (module, method)
        for module in model.modules()
        for method in (*_LABELLING, *["forward"] * isinstance(module, MultiBoxLoss))
        if callable(getattr(module, method, None))
    ]
    for module, method in watched:
        inner = getattr(module, method)

        def timed(*args: Any, _inner: Callable[..., Any] = inner, **kwargs: Any) -> Any:
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            result = _inner(*args, **kwargs)
            if device != "cpu":
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - start)
            return result

        module.__dict__[method] = timed
    try:
        yield spent
    finally:
        for module, method in watched:
            del module.__dict__[method]


def _inference(
    name: str,
    on: nn.Module,
    off: nn.Module,
    data: list[dict[str, Any]],
    pairs: int,
    device: str,
) -> Ratio:
    on.eval(), off.eval()

    def detect(model: nn.Module) -> Callable[[], Any]:
        return torch.no_grad()(lambda: model(data))

    return compare(f"inference, {name}", detect(on), detect(off), pairs, device)
