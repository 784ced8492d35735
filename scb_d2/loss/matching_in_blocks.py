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
        block_numbers: (B,) blocks, one after the other, each as often as it has objects.
        block_objects: (B,) its objects.
        block_bests: (B,) the best IoU of each of them in it.
    """

    matched_vals: Tensor
    matched_idxs: Tensor
    best_vals: Tensor
    best_anchors: Tensor
    block_size: int
    block_numbers: Tensor
    block_objects: Tensor
    block_bests: Tensor

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
        # Few blocks hold the best anchors of an object; only they are looked at again.
        reaches = self.block_bests == self.best_vals[self.block_objects]
        reaches = reaches.logical_and_(self.block_bests > 0).nonzero()[:, 0]
        objects = self.block_objects[reaches]
        starts = self.block_numbers[reaches] * self.block_size
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

    Memory beyond the result is some MB for up to some thousand objects, however many anchors there
    are, where anchors near each other in the list are near each other in the image. In random
    order every object meets every block: 20 bytes for each such pair are added.

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
    numbers, objects = _pairs_of_blocks(gt_boxes.tensor, anchors.tensor, size)
    block_bests = best_vals.new_empty(len(objects))
    end = 0
    for number, chosen, iou in _blocks(gt_boxes.tensor, anchors.tensor, size, numbers, objects):
        start, begin, end = number * size, end, end + len(chosen)
        values, rows = iou.max(dim=0)
        matched_vals[start : start + size] = values
        # Where nothing overlaps, the first object of the block need not be the first of all.
        matched_idxs[start : start + size] = torch.where(values > 0, chosen[rows], 0)
        values, columns = iou.max(dim=1)
        before = best_vals[chosen]
        better = values > before  # strictly: the first anchor keeps a tie
        best_anchors[chosen] = torch.where(better, columns + start, best_anchors[chosen])
        best_vals[chosen] = torch.where(better, values, before)
        block_bests[begin:end] = values
    return BlockMatches(
        matched_vals, matched_idxs, best_vals, best_anchors, size, numbers, objects, block_bests
    )


def _kind(tensor: Tensor) -> str:
    return "cpu" if tensor.device.type == "cpu" else "cuda"


def _pairs_of_blocks(gt_boxes: Tensor, anchors: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(B,) blocks and (B,) objects that may overlap, by block, then object."""
    parts = anchors.split(size)
    if _kind(anchors) == "cuda":
        # Choosing objects would wait for the device.
        pairs = torch.cartesian_prod(
            torch.arange(len(parts), device=anchors.device),
            torch.arange(len(gt_boxes), device=anchors.device),
        )
        return pairs[:, 0], pairs[:, 1]
    low = torch.stack([part[:, :2].amin(dim=0) for part in parts])[:, None]
    high = torch.stack([part[:, 2:].amax(dim=0) for part in parts])[:, None]
    overlaps = (gt_boxes[:, :2] < high) & (gt_boxes[:, 2:] > low)  # (blocks, G, 2)
    return tuple(overlaps.all(dim=2).nonzero().T.contiguous())


def _blocks(
    gt_boxes: Tensor, anchors: Tensor, size: int, numbers: Tensor, objects: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number of a block, its objects (O,), IoU (O, C), which the next block overwrites."""
    parts = anchors.split(size)
    if _kind(anchors) == "cuda":
        lengths = [len(gt_boxes)] * len(parts)
    else:
        lengths = numbers.bincount(minlength=len(parts)).tolist()
    # One piece of memory for all blocks: pieces of many sizes would leave holes in the heap.
    scratch = anchors.new_empty(3, max(lengths) * size)
    for number, (part, chosen) in enumerate(zip(parts, objects.split(lengths), strict=True)):
        if len(chosen):
            shape = (3, len(chosen), len(part))
            room = scratch[:, : len(chosen) * len(part)].view(shape)
            yield number, chosen, _iou(gt_boxes[chosen, None], part, room)


def _iou(gt_boxes: Tensor, anchors: Tensor, scratch: Tensor | None = None) -> Tensor:
    """``pairwise_iou`` coordinate by coordinate: (O, 1, 4) with (C, 4) or (O, C, 4) -> (O, C).

    Args:
        gt_boxes: objects.
        anchors: of all of them, or of each.
        scratch: (3, O, C) memory to use; the result lies in it.
    """
    gt_x1, gt_y1, gt_x2, gt_y2 = gt_boxes.unbind(dim=-1)
    x1, y1, x2, y2 = anchors.movedim(-1, 0).contiguous()  # a third faster than strided columns
    if scratch is None:
        scratch = gt_boxes.new_empty(3, *torch.broadcast_shapes(gt_x1.shape, x1.shape))
    inter, height, low = scratch
    torch.min(gt_x2, x2, out=inter)
    inter.sub_(torch.max(gt_x1, x1, out=low)).clamp_(min=0)
    torch.min(gt_y2, y2, out=height)
    height.sub_(torch.max(gt_y1, y1, out=low)).clamp_(min=0)
    inter.mul_(height)
    gt_area = (gt_x2 - gt_x1) * (gt_y2 - gt_y1)
    union = torch.add(gt_area, (x2 - x1) * (y2 - y1), out=height).sub_(inter)
    # Where boxes do not overlap the IoU is 0, also between two of no area, 0 / 0.
    return inter.div_(union).nan_to_num_(0.0, torch.inf, -torch.inf)
