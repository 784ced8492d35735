"""Peak memory of label assignment against Detectron2's table of IoU, and against a limit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from detectron2.structures import Boxes

from .assignment import ours, stock
from .harness import Ratio, allocated_mb, from_pairs, peak_memory_of
from .scenes import anchors_of, objects
from .waits import count_waits

_MEMORY = """
from benchmarks.assignment import ours, stock
from benchmarks.assignment_memory import SCENES
gt_boxes, anchors = SCENES[{scene!r}]({objects}, {anchors})
{call}
"""
_ALLOWED_MB = 64.0


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


def measure(device: str, quick: bool) -> Iterator[Ratio]:
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
