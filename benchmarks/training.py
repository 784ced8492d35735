"""A training step and inference with the loss on against off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn

from scb_d2 import MatchStatistics, build_model
from scb_d2.projects.ssd import MultiBoxLoss

from .harness import Ratio, allocated_mb, compare, from_pairs, seconds
from .scenes import batch, config
from .waits import count_waits

_CONFIGS = {
    "RetinaNet R50-FPN": ("configs/retinanet_scb.yaml", (320, 480)),
    "Faster R-CNN R50-FPN": ("configs/faster_rcnn_scb.yaml", (320, 480)),
    "Faster R-CNN R50-FPN, both stages": ("configs/faster_rcnn_scb.yaml", (320, 480)),
    "SSD300": ("projects/SSD/configs/ssd300_voc_scb.yaml", (300, 300)),
}
_BOTH = "both stages"
_NEVER, _PERIOD = 10**9, 20
_LABELLING = (
    "label_anchors",
    "label_and_sample_anchors",
    "label_and_sample_proposals",
    "losses",
)
_LOGGING = ("due", "log_matches", "log_losses")


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Of each detector the step, what is added inside it, inference, and what must stay."""
    for name, (path, size) in list(_CONFIGS.items())[: 1 if quick else None]:
        opts = ["MODEL.DEVICE", device, "MODEL.SCB.LOG_PERIOD", _NEVER]
        if _BOTH in name:
            opts += ["MODEL.SCB.STAGES", ("first", "second")]
        on, off = detector_pair(config(path, *opts))
        data = batch(1, 96, 128) if quick and "SSD" not in name else batch(2, *size)
        pairs = 3 if quick else 9
        with EventStorage() as storage:
            for model in (on, off):
                training_step(model, data)()
            storage.iter = 1  # a run's first iteration logs statistics
            yield from _steps(name, on, off, data, pairs, device)
            yield _waits(name, on, off, data, device)
            if device != "cpu":
                peaks = [allocated_mb(training_step(model, data)) for model in (on, off)]
                yield from_pairs(f"peak allocated memory of it, {name}", [tuple(peaks)], "MB")
            yield _logging(name, on, data, device)
        if _BOTH not in name:  # inference knows nothing of stages
            yield _inference(name, on, off, data, pairs, device)
        yield from _state(name, on, off)


def detector_pair(cfg: CfgNode) -> tuple[nn.Module, nn.Module]:
    """The detector with the loss and without, with the same weights."""
    stock = cfg.clone()
    stock.MODEL.SCB.ENABLED = False
    on, off = build_model(cfg), build_model(stock)
    off.load_state_dict(on.state_dict())
    return on, off


def training_step(model: nn.Module, data: list[dict[str, Any]]) -> Callable[[], None]:
    """One step without the optimizer's, from the same random state."""
    model.train()

    def step() -> None:
        torch.manual_seed(0)
        model.zero_grad()
        sum(model(data).values()).backward()

    return step


def _steps(
    name: str,
    on: nn.Module,
    off: nn.Module,
    data: list[dict[str, Any]],
    pairs: int,
    device: str,
) -> Iterator[Ratio]:
    """The step on / off, and the stock step with the time added inside labelling and losses / it.

    Both come from the same steps on the CPU, where a stopwatch costs nothing; on a GPU it waits
    for the device, so there the first come from steps without.
    """
    steps = [training_step(model, data) for model in (on, off)]
    rows = [_timed_pair((on, off), steps, index % 2, device) for index in range(pairs)]
    wholes = [(ours, stock) for (ours, _), (stock, _) in rows]
    if device != "cpu":
        wholes = [tuple(seconds(step, device) for step in steps) for _ in range(pairs)]
    yield from_pairs(f"training step, {name}", wholes, "s", 1.005, "interval")
    added = [(whole + ours - stock, whole) for (_, ours), (whole, stock) in rows]
    yield from_pairs(f"step + time added in labelling and losses, {name}", added, "s", 1.005)


def _timed_pair(
    models: tuple[nn.Module, nn.Module],
    steps: list[Callable[[], None]],
    first: int,
    device: str,
) -> list[tuple[float, float]]:
    """Seconds of (on, off): of the whole step, and of its labelling and losses."""
    found = {}
    for which in (first, 1 - first):
        with _stopwatch(_labelling(models[which]), device) as spent:
            whole = seconds(steps[which], device)
        found[which] = (whole, sum(spent))
    return [found[0], found[1]]


def _labelling(model: nn.Module) -> list[tuple[Any, str]]:
    """Objects and names of the methods that label anchors and compute losses."""
    return [
        (module, method)
        for module in model.modules()
        for method in (*_LABELLING, *["forward"] * isinstance(module, MultiBoxLoss))
        if callable(getattr(module, method, None))
    ]


@contextmanager
def _stopwatch(watched: list[tuple[Any, str]], device: str) -> Iterator[list[float]]:
    """Seconds spent in these methods; a method that calls another of them counts once."""
    spent: list[float] = []
    depth = 0

    def timed(inner: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if depth:
            return inner(*args, **kwargs)
        depth = 1
        try:
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            result = inner(*args, **kwargs)
            if device != "cpu":
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - start)
        finally:
            depth = 0
        return result

    for owner, method in watched:
        vars(owner)[method] = partial(timed, getattr(owner, method))
    try:
        yield spent
    finally:
        for owner, method in watched:
            del vars(owner)[method]


def _waits(
    name: str, on: nn.Module, off: nn.Module, data: list[dict[str, Any]], device: str
) -> Ratio:
    """How often the host waits in a step outside the period of the statistics."""
    # Few objects: with more the CPU would match in blocks, where a GPU takes the table.
    data = [x | {"instances": x["instances"][:3]} for x in data]
    waits = [count_waits(training_step(model, data), device) for model in (on, off)]
    return from_pairs(f"waits of the host for the device in it, {name}", [tuple(waits)], "", 1.0)


def _logging(name: str, model: nn.Module, data: list[dict[str, Any]], device: str) -> Ratio:
    """The step with what logging adds at the default period / the step without."""
    step, rows = training_step(model, data), []
    statistics = [
        value
        for module in model.modules()
        for attribute in vars(module).values()
        for value in (attribute if isinstance(attribute, list) else [attribute])
        if isinstance(value, MatchStatistics)
    ]
    watched = [(entry, method) for entry in set(statistics) for method in _LOGGING]
    for entry in statistics:
        entry.period = 1
    for _ in range(3):
        with _stopwatch(watched, device) as spent:
            whole = seconds(step, device)
        without = whole - sum(spent)
        rows.append((without + sum(spent) / _PERIOD, without))
    for entry in statistics:
        entry.period = _NEVER
    return from_pairs(f"step with statistics every {_PERIOD} iterations, {name}", rows, "s")


def _inference(
    name: str,
    on: nn.Module,
    off: nn.Module,
    data: list[dict[str, Any]],
    pairs: int,
    device: str,
) -> Ratio:
    on.eval(), off.eval()
    detect = [torch.no_grad()(partial(model, data[:1])) for model in (on, off)]
    for run in detect:
        run()
    return compare(f"inference, {name}", *detect, pairs, device, 1.005, "interval")


def _state(name: str, on: nn.Module, off: nn.Module) -> Iterator[Ratio]:
    """Numbers of parameters, and of checkpoint keys: those in both / those in either."""
    counts = [sum(p.numel() for p in model.parameters()) for model in (on, off)]
    yield from_pairs(f"parameters, {name}", [tuple(counts)], "", 1.0, "equal")
    ours, stock = (set(model.state_dict()) for model in (on, off))
    keys = (len(ours & stock), len(ours | stock))
    yield from_pairs(f"checkpoint keys in both / in either, {name}", [keys], "", 1.0, "equal")
