"""Matching by IoU in bounded memory, for crowded images: the stock labels without the G x R table.

Shape shorthand in this module:

    R: anchors of an image, G: its objects
    C: anchors of one block, O: objects that may overlap a block

Most anchors overlap few objects. Anchors are taken in blocks, in the order in which the generator
lays them out, so that a block covers a small part of the image; on the CPU only the objects that
reach into that part are compared with it. IoU is computed by the float operations of
:func:`detectron2.structures.pairwise_iou`, so values, ties and labels are the same to the bit. On a
GPU the host waits for the device once an image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from detectron2.structures import Boxes
from torch import Tensor

__all__ = ["BlockMatches", "match_in_blocks"]

_PAIRS = {"cpu": 1 << 16, "cuda": 1 << 21}  # entries of the table held at once
_MIN_BLOCK, _MAX_BLOCK = 256, 1 << 16


class BlockMatches(NamedTuple):
    """What a matcher needs of the table of IoU between objects (rows) and anchors (columns).

    Attributes:
        matched_vals: (R,) best IoU of each anchor.
        matched_idxs: (R,) int64 first object that reaches it; 0 where it is 0.
        best_vals: (G,) best IoU of each object.
        best_anchors: (G,) int64 first anchor that reaches it; 0 where it is 0.
        block_size: C.
        block_bests: per block its number and, for its objects, (O,) indices and (O,) best IoU.
    """

    matched_vals: Tensor
    matched_idxs: Tensor
    best_vals: Tensor
    best_anchors: Tensor
    block_size: int
    block_bests: list[tuple[int, Tensor, Tensor]]

    def tied_for_best(self, gt_boxes: Boxes, anchors: Boxes) -> Tensor:
        """Anchors whose IoU with some object is the best that this object reaches.

        Args:
            gt_boxes: the G boxes that were matched.
            anchors: the R anchors that were matched.

        Returns:
            (R,) bool. All True where an object overlaps no anchor: it ties with every anchor at 0.
        """
        nowhere = len(anchors)
        tied = self.matched_idxs.new_zeros(nowhere + 1, dtype=torch.bool)
        if self.block_bests:
            parts = [
                (torch.full_like(rows, number * self.block_size), rows, values)
                for number, rows, values in self.block_bests
            ]
            starts, objects, bests = (torch.cat(x) for x in zip(*parts, strict=True))
            # Few blocks hold the best anchors of an object; only they are looked at again.
            reaches = ((bests == self.best_vals[objects]) & (bests > 0)).nonzero()[:, 0]
            objects, starts = objects[reaches], starts[reaches]
            offsets = torch.arange(self.block_size, device=tied.device)
            height = max(1, _PAIRS[_kind(tied)] // self.block_size)
            for some, at in zip(objects.split(height), starts.split(height), strict=True):
                columns = (at[:, None] + offsets).clamp_(max=len(anchors) - 1)
                iou = _iou(gt_boxes.tensor[some, None], anchors.tensor[columns])
                hits = torch.where(iou == self.best_vals[some, None], columns, nowhere)
                tied.index_fill_(0, hits.flatten(), True)
        return tied[:nowhere] | (self.best_vals == 0).any()


@torch.no_grad()
def match_in_blocks(gt_boxes: Boxes, anchors: Boxes) -> BlockMatches:
    """Best IoU of every anchor and of every object.

    Memory beyond the result is some MB whatever G and R are, where anchors near each other in the
    list are near each other in the image. In random order every object meets every block, and the
    allocator's heap grows: 79 MB in one run with 1,000 objects and 200,000 anchors on a CPU.

    Args:
        gt_boxes: G > 0 boxes, pixels.
        anchors: R > 0 boxes, pixels.

    Returns:
        The maxima, equal to ``table.max(dim=0)`` and ``table.max(dim=1)`` of the table that
        ``pairwise_iou(gt_boxes, anchors)`` gives.
    """
    matched_vals = anchors.tensor.new_zeros(len(anchors))
    matched_idxs = torch.zeros_like(matched_vals, dtype=torch.int64)
    best_vals = anchors.tensor.new_zeros(len(gt_boxes))
    best_anchors = torch.zeros_like(best_vals, dtype=torch.int64)
    size = _PAIRS[_kind(best_vals)] // len(gt_boxes)
    size = min(max(size, _MIN_BLOCK), _MAX_BLOCK, len(anchors))
    block_bests = []
    for number, objects, iou in _blocks(gt_boxes.tensor, anchors.tensor, size):
        start = number * size
        values, rows = iou.max(dim=0)
        matched_vals[start : start + size] = values
        # Where nothing overlaps, the first object of the block need not be the first of all.
        matched_idxs[start : start + size] = torch.where(values > 0, objects[rows], 0)
        values, columns = iou.max(dim=1)
        before = best_vals[objects]
        better = values > before  # strictly: the first anchor keeps a tie
        best_anchors[objects] = torch.where(better, columns + start, best_anchors[objects])
        best_vals[objects] = torch.where(better, values, before)
        block_bests.append((number, objects, values))
    return BlockMatches(matched_vals, matched_idxs, best_vals, best_anchors, size, block_bests)


def _kind(tensor: Tensor) -> str:
    return "cpu" if tensor.device.type == "cpu" else "cuda"


def _blocks(gt_boxes: Tensor, anchors: Tensor, size: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number of a block, objects (O,) ascending, IoU (O, C)."""
    parts = anchors.split(size)
    objects = torch.arange(len(gt_boxes), device=gt_boxes.device)
    if _kind(anchors) == "cuda":
        # Choosing objects would wait for the device once a block.
        for number, part in enumerate(parts):
            yield number, objects, _iou(gt_boxes[:, None], part)
        return
    low = torch.stack([part[:, :2].amin(dim=0) for part in parts])
    high = torch.stack([part[:, 2:].amax(dim=0) for part in parts])
    overlaps = (gt_boxes[:, None, :2] < high) & (gt_boxes[:, None, 2:] > low)  # (G, blocks, 2)
    for number, (part, chosen) in enumerate(zip(parts, overlaps.all(dim=2).T, strict=True)):
        chosen = chosen.nonzero()[:, 0]
        if len(chosen):
            yield number, chosen, _iou(gt_boxes[chosen, None], part)


def _iou(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
    """``pairwise_iou`` coordinate by coordinate: (O, 1, 4) with (C, 4) or (O, C, 4) -> (O, C)."""
    gt_x1, gt_y1, gt_x2, gt_y2 = gt_boxes.unbind(dim=-1)
    x1, y1, x2, y2 = anchors.movedim(-1, 0).contiguous()  # a third faster than strided columns
    width = torch.min(gt_x2, x2).sub_(torch.max(gt_x1, x1)).clamp_(min=0)
    height = torch.min(gt_y2, y2).sub_(torch.max(gt_y1, y1)).clamp_(min=0)
    inter = width.mul_(height)
    apart = (inter > 0).logical_not_()
    gt_area = (gt_x2 - gt_x1) * (gt_y2 - gt_y1)
    area = (x2 - x1) * (y2 - y1)
    return inter.div_((gt_area + area).sub_(inter)).masked_fill_(apart, 0.0)
