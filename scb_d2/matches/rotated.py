"""Boxes of both kinds as arrays: upright ones have four columns, rotated ones five.

Shape shorthand: G objects of an image, R anchors of it.
"""

import numpy as np
import torch
from detectron2.structures import Boxes, RotatedBoxes, pairwise_iou_rotated
from torch import Tensor

__all__ = ["as_boxes", "box_areas", "rotated_ious"]


def as_boxes(boxes: np.ndarray) -> Boxes | RotatedBoxes:
    """Detectron2's structure, float32.

    Args:
        boxes: (G, 4) XYXY or (G, 5) centre x, y, width, height, angle in degrees.
    """
    kind = RotatedBoxes if boxes.shape[1] == 5 else Boxes
    return kind(torch.as_tensor(boxes, dtype=torch.float32))


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(G,) square pixels, of boxes as in :func:`as_boxes`."""
    if boxes.shape[1] == 5:
        return boxes[:, 2] * boxes[:, 3]
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def rotated_ious(gt_boxes: RotatedBoxes, anchors: RotatedBoxes) -> Tensor:
    """(G, R) float32, what Detectron2's ``pairwise_iou_rotated`` gives.

    It is asked only where the circles around two boxes meet: the operator computes every corner of
    every pair, and most pairs are far apart.
    """
    ious = torch.zeros(len(gt_boxes), len(anchors))
    x, y, width, height, _ = anchors.tensor.unbind(dim=1)
    radii = torch.hypot(width, height) / 2
    for row, box in zip(ious, gt_boxes.tensor, strict=True):
        reach = radii + torch.hypot(box[2], box[3]) / 2 + 1  # a pixel for rounding
        near = (x - box[0]).square() + (y - box[1]).square() <= reach.square()
        if near.any():
            row[near] = pairwise_iou_rotated(RotatedBoxes(box[None]), anchors[near])[0]
    return ious
