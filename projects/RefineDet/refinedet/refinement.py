"""What the ARM hands on to the ODM: refined anchors, and which of them are surely background.

Shape shorthand: N images, R anchors of an image over all feature levels.
"""

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from torch import Tensor

__all__ = ["is_negative_anchor", "refine_anchors"]


@torch.no_grad()
def refine_anchors(
    anchors: Tensor, arm_anchor_deltas: Tensor, box2box_transform: Box2BoxTransform
) -> Tensor:
    """Move and scale the anchors as the ARM predicts, without gradients and unclipped.

    Args:
        anchors: (R, 4) XYXY pixels, shared by all images.
        arm_anchor_deltas: (N, R, 4).
        box2box_transform: how deltas relate anchors to boxes.

    Returns:
        (N, R, 4) float32 XYXY pixels.
    """
    all_anchors = anchors.expand(arm_anchor_deltas.shape)
    refined = box2box_transform.apply_deltas(
        arm_anchor_deltas.flatten(end_dim=1), all_anchors.flatten(end_dim=1)
    )
    return refined.view(arm_anchor_deltas.shape)


@torch.no_grad()
def is_negative_anchor(arm_logits: Tensor, threshold: float) -> Tensor:
    """Anchors that the ARM is sure hold no object (Zhang et al. 2018, section 3.2).

    Args:
        arm_logits: (N, R, 2) object, background.
        threshold: theta; the probability of an object is below 1 - theta.

    Returns:
        (N, R) bool.
    """
    return arm_logits.float().softmax(dim=-1)[..., 0] < 1 - threshold
