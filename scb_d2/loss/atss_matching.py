"""Adaptive training sample selection: a threshold of IoU for each object instead of one for all.

Shape shorthand in this module:

    R: anchors of an image over all feature levels
    G: objects of the image
    O: objects of one chunk
    C: candidates of an object over all feature levels
"""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes
from torch import Tensor

from scb_d2.utils.arguments import check_count

__all__ = ["ATSSMatcher"]

_PAIRS = {"cpu": 1 << 18, "cuda": 1 << 22}  # of object and cell, or candidate, held at once
_INSIDE = 0.01  # pixels, of the authors' code


class ATSSMatcher:
    """Matches as ATSS does (Zhang et al. 2020, algorithm 1; repository sfzhang15/ATSS).

    The candidates of an object are, on each level, the anchors of the ``num_candidates`` cells
    whose centres are closest to its own. Its threshold is the mean plus the standard deviation of
    its IoU with them. A candidate is positive from there on if its centre lies in the object's box;
    of several such objects it is given the one it overlaps most. All other anchors are negative.
    Of cells equally close, and of objects equally overlapped, the first is taken.
    """

    allow_low_quality_matches = False

    def __init__(self, num_candidates: int = 9, anchors_per_cell: int = 1):
        """Keep the numbers.

        Args:
            num_candidates: k of the paper, cells per level.
            anchors_per_cell: of the anchor generator; those of a cell lie next to each other.

        Raises:
            ConfigError: if one is no whole number above 0.
        """
        self.num_candidates = check_count(num_candidates, "num_candidates")
        self.anchors_per_cell = check_count(anchors_per_cell, "anchors_per_cell")

    @torch.no_grad()
    def match(
        self, gt_boxes: Boxes, anchors: Boxes, level_sizes: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Match the anchors of one image to its objects, in memory that G does not bound.

        Args:
            gt_boxes: G boxes, pixels.
            anchors: R boxes, pixels, level by level.
            level_sizes: number of anchors of each level.

        Returns:
            ``matched_idxs`` (R,) int64 and ``anchor_labels`` (R,) int8, 1 or 0, as
            :func:`scb_d2.match_boxes`.
        """
        best = anchors.tensor.new_zeros(len(anchors))
        nobody = len(gt_boxes)
        owners = torch.full_like(best, nobody, dtype=torch.int64)
        width = max(max(level_sizes, default=1) // self.anchors_per_cell, 1)
        width = max(width, self.num_candidates * self.anchors_per_cell * len(level_sizes))
        rows = max(1, _PAIRS["cuda" if best.device.type == "cuda" else "cpu"] // width)
        for start in range(0, len(gt_boxes), rows):
            some = gt_boxes[start : start + rows]
            candidates = self._candidates(some, anchors, level_sizes)  # (O, C)
            ious = self._positive_ious(some, anchors.tensor[candidates])
            objects = torch.arange(start, start + len(some), device=best.device)
            objects = objects[:, None].expand_as(candidates).flatten()
            candidates, ious = candidates.flatten(), ious.flatten()
            # Maxima by scatter are deterministic, unlike assignment by index.
            better = best.scatter_reduce(0, candidates, ious, "amax")
            owners = torch.where(better > best, nobody, owners)
            wins = (ious == better[candidates]) & (ious > best[candidates])
            owners.scatter_reduce_(0, candidates, torch.where(wins, objects, nobody), "amin")
            best = better
        return torch.where(best > 0, owners, 0), (best > 0).to(torch.int8)

    def _candidates(self, gt_boxes: Boxes, anchors: Boxes, level_sizes: Sequence[int]) -> Tensor:
        """(O, C) indices of anchors."""
        x, y = gt_boxes.get_centers().unbind(dim=1)
        within = torch.arange(self.anchors_per_cell, device=x.device)
        found, start = [], 0
        for size, centers in zip(
            level_sizes, anchors.get_centers().split(list(level_sizes)), strict=True
        ):
            cell_x, cell_y = centers[:: self.anchors_per_cell].unbind(dim=1)
            distances = (cell_x - x[:, None]).square() + (cell_y - y[:, None]).square()
            cells = _smallest(distances, min(self.num_candidates, len(cell_x)))
            indices = start + cells[:, :, None] * self.anchors_per_cell + within
            found.append(indices.flatten(start_dim=1))
            start += size
        return torch.cat(found, dim=1)

    def _positive_ious(self, gt_boxes: Boxes, candidates: Tensor) -> Tensor:
        """(O, C) IoU of the candidates (O, C, 4) that are positive, 0 of the others."""
        x1, y1, x2, y2 = candidates.unbind(dim=2)
        gt_x1, gt_y1, gt_x2, gt_y2 = gt_boxes.tensor[:, :, None].unbind(dim=1)
        width = (torch.min(x2, gt_x2) - torch.max(x1, gt_x1)).clamp(min=0)
        height = (torch.min(y2, gt_y2) - torch.max(y1, gt_y1)).clamp(min=0)
        inter = width * height
        union = (x2 - x1) * (y2 - y1) + gt_boxes.area()[:, None] - inter
        ious = torch.where(inter > 0, inter / union, 0.0)
        std, mean = torch.std_mean(ious, dim=1, keepdim=True)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        edges = torch.stack([x - gt_x1, y - gt_y1, gt_x2 - x, gt_y2 - y])
        positive = (ious >= mean + std.nan_to_num()) & (edges.amin(dim=0) > _INSIDE)
        return torch.where(positive, ious, 0.0)


def _smallest(values: Tensor, number: int) -> Tensor:
    """(O, number) indices of the smallest of each row, the first of those that tie, ascending."""
    limit = values.topk(number, dim=1, largest=False).values.amax(dim=1, keepdim=True)
    below, ties = values < limit, values == limit
    wanted = number - below.sum(dim=1, keepdim=True)
    chosen = below | (ties & (ties.cumsum(dim=1) <= wanted))
    # Chosen ones first, in order, without asking the device how many there are.
    return chosen.to(torch.int8).topk(number, dim=1).indices.sort(dim=1).values
