"""Label assignment against Detectron2's table of IoU: time and peak memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from scb_d2 import ScaleBalancedMatcher, match_boxes

from .harness import Ratio, allocated_mb, compare, from_pairs, peak_memory_of
from .scenes import anchors_of, objects
from .waits import count_waits

_SETTINGS = ([0.4, 0.5], [0, -1, 1], True)
_MEMORY = """
from benchmarks.assignment import SCENES, ours, stock
gt_boxes, anchors = SCENES[{scene!r}]({objects}, {anchors})
{call}
"""
_ALLOWED_MB = 64.0
_FEW, _MANY = [7, 1000], [1, 7, 30, 100, 300, 1000, 2000]
_GRID = {10_000: _MANY, 100_000: _FEW, 200_000: _MANY, 400_000: _FEW}
# Where the default takes the table; measured in blocks too, to show why.
_ALSO_IN_BLOCKS = {10_000: [1, 7], 200_000: [1]}


def _equal(num_objects: int, num_anchors: int) -> tuple[Boxes, Boxes]:
    return Boxes(objects(1).tensor.repeat(num_objects, 1)), anchors_of(num_anchors)


def _shuffled(num_objects: int, num_anchors: int) -> tuple[Boxes, Boxes]:
    order = torch.randperm(num_anchors, generator=torch.Generator().manual_seed(0))
    return objects(num_objects), anchors_of(num_anchors)[order]


SCENES = {
    "": lambda num_objects, num_anchors: (objects(num_objects), anchors_of(num_anchors)),
    ", all objects equal": _equal,
    ", anchors in random order": _shuffled,
}


def ours(gt_boxes: Boxes, anchors: Boxes, matching: str = "auto") -> tuple[Tensor, Tensor]:
    """The project's path."""
    return match_boxes(gt_boxes, anchors, ScaleBalancedMatcher(*_SETTINGS, matching=matching))


def stock(gt_boxes: Boxes, anchors: Boxes) -> tuple[Tensor, Tensor]:
    """Detectron2's path."""
    return Matcher(*_SETTINGS)(pairwise_iou(gt_boxes, anchors))


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Time over objects and anchors; extra peak memory; on a GPU how often the host waits."""
    targets = {(7, 200_000): 1.0, (1000, 200_000): 0.05 if device == "cpu" else 1.0}
    for num_anchors, counts in ({10_000: [7, 100]} if quick else _GRID).items():
        anchors = anchors_of(num_anchors).to(device)
        also = [(count, "blocks") for count in _ALSO_IN_BLOCKS.get(num_anchors, ())]
        for num_objects, matching in [*((count, "auto") for count in counts), *also]:
            gt_boxes = objects(num_objects).to(device)
            in_blocks = ", in blocks" if matching == "blocks" else ""
            yield compare(
                f"label assignment{in_blocks}, {num_objects} objects x {num_anchors} anchors",
                partial(ours, gt_boxes, anchors, matching),
                partial(stock, gt_boxes, anchors),
                pairs=_pairs(num_objects * num_anchors),
                device=device,
                target=targets.get((num_objects, num_anchors)) if not in_blocks else None,
            )
    yield from _peaks(device, quick)


def _peaks(device: str, quick: bool) -> Iterator[Ratio]:
    """Extra peak memory; on a GPU how often the host waits."""
    for num_objects, num_anchors in [(100, 10_000)] if quick else [(7, 200_000), (1000, 200_000)]:
        scene = objects(num_objects).to(device), anchors_of(num_anchors).to(device)
        if device == "cpu":
            used, by_stock = _memory(num_objects, num_anchors)
        else:
            used, by_stock = (allocated_mb(partial(path, *scene)) for path in (ours, stock))
        name = f"extra peak memory of it, {num_objects} objects x {num_anchors} anchors"
        yield from_pairs(name, [(used, by_stock)], "MB")
        name = f"{name} / {_ALLOWED_MB:.0f} MB, the memory allowed"
        yield from_pairs(name, [(used, _ALLOWED_MB)], "MB", target=1.0)
        if device != "cpu":
            waits = [count_waits(partial(path, *scene), device) for path in (ours, stock)]
            name = f"waits of the host in it, {num_objects} objects x {num_anchors} anchors"
            yield from_pairs(name, [tuple(waits)], "waits", target=1.0)
    if device != "cpu":
        return
    for num_objects, num_anchors in (
        [(100, 10_000)] if quick else [(1000, 200_000), (1000, 400_000)]
    ):
        for scene in list(SCENES)[1:]:
            name = f"extra peak memory of it, {num_objects} objects x {num_anchors} anchors{scene}"
            used, _ = _memory(num_objects, num_anchors, scene, with_stock=False)
            name = f"{name} / {_ALLOWED_MB:.0f} MB, the memory allowed"
            yield from_pairs(name, [(used, _ALLOWED_MB)], "MB", target=1.0)


def _pairs(size: int) -> int:
    """Fewer for large tables, of which stock takes up to 20 s."""
    if size < 10**7:
        return 15
    return 3 if size < 3 * 10**8 else 2


def _memory(
    num_objects: int, num_anchors: int, scene: str = "", with_stock: bool = True
) -> tuple[float, float]:
    calls = ["", "ours(gt_boxes, anchors)", *["stock(gt_boxes, anchors)"] * with_stock]
    idle, *used = (
        peak_memory_of(
            _MEMORY.format(anchors=num_anchors, objects=num_objects, scene=scene, call=call)
        )
        for call in calls
    )
    return used[0] - idle, used[-1] - idle
