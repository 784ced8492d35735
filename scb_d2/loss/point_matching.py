"""FCOS's matching of points to objects in bounded memory: the stock labels without a G x R table.

Shape shorthand in this module:

    R: points of an image over all feature levels, as squares whose side is the level's stride
    G: objects of the image
    C: objects of one chunk
"""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes
from torch import Tensor

__all__ = ["PointMatcher"]

_PAIRS = {"cpu": 1 << 18, "cuda": 1 << 22}  # of object and point, held at once


class PointMatcher:
    """Matches as :class:`detectron2.modeling.FCOS` does (Tian et al. 2019, with centre sampling).

    A point is positive for an object if it lies in the object's box, within
    ``center_sampling_radius`` strides of its centre along each axis, and the farthest edge of the
    box is within the range of the point's level: 4 to 8 strides, from 0 on the finest and without
    end on the coarsest level. Of several such objects it is given the smallest.
    """

    allow_low_quality_matches = False

    def __init__(self, center_sampling_radius: float):
        """Keep the radius.

        Args:
            center_sampling_radius: in strides.
        """
        self.center_sampling_radius = center_sampling_radius

    @torch.no_grad()
    def match(
        self, gt_boxes: Boxes, anchors: Boxes, level_sizes: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Match the points of one image to its objects.

        Args:
            gt_boxes: G boxes, pixels.
            anchors: R squares, pixels, level by level.
            level_sizes: number of points of each level, fine to coarse.

        Returns:
            ``matched_idxs`` (R,) int64 and ``anchor_labels`` (R,) int8, 1 or 0, as
            :func:`scb_d2.match_boxes`.
        """
        centers, sizes = anchors.get_centers(), anchors.tensor[:, 2] - anchors.tensor[:, 0]
        least, most = sizes * 4, sizes * 8
        least[: level_sizes[0]] = 0
        most[-level_sizes[-1] :] = torch.inf
        # Detectron2's preference in its own arithmetic: objects of nearly one area tie, and an
        # object of more than 1e8 square pixels is matched by nothing.
        preferences = 1e8 - gt_boxes.area()
        best = torch.zeros_like(sizes)
        matched_idxs = torch.zeros_like(sizes, dtype=torch.int64)
        rows = max(1, _PAIRS["cuda" if anchors.device.type == "cuda" else "cpu"] // len(anchors))
        for start in range(0, len(gt_boxes), rows):
            some = gt_boxes[start : start + rows]
            fits = self._fits(some, centers, sizes, least, most)
            values, index = (fits * preferences[start : start + rows, None]).max(dim=0)
            better = values > best  # strictly: the first object keeps a tie
            best = torch.where(better, values, best)
            matched_idxs = torch.where(better, index + start, matched_idxs)
        return matched_idxs, (best >= 1e-5).to(torch.int8)

    def _fits(
        self, gt_boxes: Boxes, centers: Tensor, sizes: Tensor, least: Tensor, most: Tensor
    ) -> Tensor:
        """(C, R) bool: whether a point may be matched to an object."""
        x, y = centers.unbind(dim=1)
        gt_x, gt_y = gt_boxes.get_centers()[:, :, None].unbind(dim=1)
        from_center = torch.max((x - gt_x).abs_(), (y - gt_y).abs_())
        fits = from_center < self.center_sampling_radius * sizes
        x1, y1, x2, y2 = gt_boxes.tensor[:, :, None].unbind(dim=1)
        nearest, farthest = x - x1, x - x1
        for distance in (y - y1, x2 - x, y2 - y):
            nearest, farthest = torch.min(nearest, distance), torch.max(farthest, distance)
        return fits & (nearest > 0) & (farthest > least) & (farthest < most)
