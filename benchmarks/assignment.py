"""Label assignment against Detectron2's table of IoU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from scb_d2 import ScaleBalancedMatcher, match_boxes

from .harness import Ratio, compare
from .scenes import anchors_of, objects

_SETTINGS = ([0.4, 0.5], [0, -1, 1], True)
_FEW, _MANY = [7, 1000], [1, 7, 30, 100, 300, 1000, 2000]
_GRID = {10_000: _MANY, 100_000: _FEW, 200_000: _MANY, 400_000: _FEW}
# Where the default takes the table; measured in blocks too, to show why.
_ALSO_IN_BLOCKS = {10_000: [1, 7], 200_000: [1]}


def ours(gt_boxes: Boxes, anchors: Boxes, matching: str = "auto") -> tuple[Tensor, Tensor]:
    """The project's path."""
    return match_boxes(gt_boxes, anchors, ScaleBalancedMatcher(*_SETTINGS, matching=matching))


def stock(gt_boxes: Boxes, anchors: Boxes) -> tuple[Tensor, Tensor]:
    """Detectron2's path."""
    return Matcher(*_SETTINGS)(pairwise_iou(gt_boxes, anchors))


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Time over objects and anchors."""
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


def _pairs(size: int) -> int:
    """Fewer for large tables, of which stock takes up to 20 s."""
    if size < 10**7:
        return 15
    return 3 if size < 3 * 10**8 else 2
