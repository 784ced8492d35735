"""What anchors inherit from the objects they matched, for detectors that label anchors.

Shape shorthand: R anchors of an image over all feature levels, G objects of the image.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from detectron2.structures import Boxes
from torch import Tensor

from .matching import match_counts

__all__ = ["MatchedObjects", "ObjectWeight", "class_labels", "matched_objects"]

ObjectWeight = Callable[[Tensor, Tensor, Boxes], Tensor]
"""Weight per anchor, any float type, from (matched_idxs, anchor_labels, gt_boxes) of an image."""


class MatchedObjects(NamedTuple):
    """What the anchors of one image inherit from their objects.

    Attributes:
        gt_boxes: (R, 4) box of the matched object, XYXY; undefined on anchors not positive.
        weights: (R,) float32 weight, 1 on anchors that were not positive when M was counted.
        matched_idxs: (R,) index of each anchor's object.
        anchor_labels: (R,) 1 = positive, 0 = negative, -1 = ignored, as M was counted.
        num_objects: G.
    """

    gt_boxes: Tensor
    weights: Tensor
    matched_idxs: Tensor
    anchor_labels: Tensor
    num_objects: int

    @property
    def match_counts(self) -> Tensor:
        """(G,) int64 number of anchors each object matched, counted on demand for statistics."""
        return match_counts(self.matched_idxs, self.anchor_labels, self.num_objects)


@torch.no_grad()
def class_labels(
    matched_idxs: Tensor, anchor_labels: Tensor, gt_classes: Tensor, num_classes: int
) -> Tensor:
    """Class that each anchor of one image is trained towards.

    Args:
        matched_idxs: (R,) index of each anchor's object.
        anchor_labels: (R,) 1 = positive, 0 = negative, -1 = ignored.
        gt_classes: (G,) int64 classes of the objects, in [0, K); G may be 0.
        num_classes: K.

    Returns:
        (R,) int64 class of the object, K (background) on negatives, -1 on ignored anchors.
    """
    if len(gt_classes):
        classes = gt_classes.index_select(0, matched_idxs)
    else:
        classes = torch.full_like(matched_idxs, num_classes)
    classes = torch.where(anchor_labels == 0, num_classes, classes)
    return classes.masked_fill(anchor_labels == -1, -1)


@torch.no_grad()
def matched_objects(
    matched_idxs: Tensor, anchor_labels: Tensor, gt_boxes: Boxes, object_weight: ObjectWeight | None
) -> MatchedObjects:
    """Gather box and weight of the object of each anchor of one image.

    Args:
        matched_idxs: (R,) index of each anchor's object.
        anchor_labels: (R,) 1 = positive, 0 = negative, -1 = ignored. The positives are counted.
        gt_boxes: the G boxes of the image's objects, pixels; G may be 0.
        object_weight: what weighs the anchors, usually a :class:`scb_d2.ScaleBalancedWeight`.
            None: all weigh 1.
    """
    if len(gt_boxes):
        matched_gt_boxes = gt_boxes.tensor.index_select(0, matched_idxs)
    else:
        matched_gt_boxes = gt_boxes.tensor.new_zeros(len(matched_idxs), gt_boxes.tensor.shape[1])
    if object_weight is None:
        weights = torch.ones_like(matched_idxs, dtype=torch.float32)
    else:
        weights = object_weight(matched_idxs, anchor_labels, gt_boxes).float()
    return MatchedObjects(
        matched_gt_boxes,
        weights,
        matched_idxs,
        anchor_labels,
        len(gt_boxes),
    )
