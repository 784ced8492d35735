"""Label assignment against Detectron2's table of IoU: time and peak memory."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.modeling.matcher import Matcher
from detectron2.structures import pairwise_iou

from scb_d2 import ScaleBalancedMatcher, match_boxes

from .harness import Ratio, compare, from_pairs, peak_memory_of
from .scenes import anchors_of, objects

_SETTINGS = ([0.4, 0.5], [0, -1, 1], True)
_MEMORY = """
from benchmarks.scenes import anchors_of, objects
from benchmarks.assignment import ours, stock
anchors, gt_boxes = anchors_of({anchors}), objects({objects})
{call}
"""


def ours(gt_boxes, anchors):
    """The project's path, in blocks."""
    return match_boxes(gt_boxes, anchors, ScaleBalancedMatcher(*_SETTINGS, matching="blocks"))


def stock(gt_boxes, anchors):
    """Detectron2's path."""
    return Matcher(*_SETTINGS)(pairwise_iou(gt_boxes, anchors))


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Time over objects and anchors; memory of the crowded case (CPU)."""
    targets = {(7, 200_000): 1.0, (1000, 200_000): 0.05 if device == "cpu" else 1.0}
    few, many = [7, 1000], [1, 7, 30, 100, 300, 1000, 2000]
    grid = {10_000: many, 100_000: few, 200_000: many, 400_000: few}
    for num_anchors, counts in ({10_000: [7, 100]} if quick else grid).items():
        anchors = anchors_of(num_anchors).to(device)
        for num_objects in counts:
            gt_boxes = objects(num_objects).to(device)
            yield compare(
                f"label assignment, {num_objects} objects x {num_anchors} anchors",
                lambda g=gt_boxes, a=anchors: ours(g, a),
                lambda g=gt_boxes, a=anchors: stock(g, a),
                pairs=3 if num_objects * num_anchors > 10**7 else 15,
                device=device,
                target=targets.get((num_objects, num_anchors)),
            )
    if device == "cpu":
        yield _memory(*((100_000, 100) if quick else (200_000, 1000)))


def _memory(num_anchors: int, num_objects: int) -> Ratio:
    peaks = {
        call: peak_memory_of(_MEMORY.format(anchors=num_anchors, objects=num_objects, call=call))
        for call in ("", "ours(gt_boxes, anchors)", "stock(gt_boxes, anchors)")
    }
    idle, *used = peaks.values()
    name = f"extra peak memory, {num_objects} objects x {num_anchors} anchors"
    return from_pairs(name, [(used[0] - idle, used[1] - idle)], "MB")
