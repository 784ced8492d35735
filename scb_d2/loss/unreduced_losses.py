"""Losses of single anchors, un-reduced, where Detectron2 offers only their sum.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    K: classes
    P: positive anchors (or proposals) of the batch
"""

from detectron2.layers import ciou_loss, diou_loss
from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from fvcore.nn import giou_loss, sigmoid_focal_loss_jit, smooth_l1_loss
from torch import Tensor

from scb_d2.errors import ConfigError

__all__ = ["box_regression_losses", "sigmoid_focal_losses"]

_IOU_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


def sigmoid_focal_losses(
    pred_logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss of each anchor, summed over classes.

    Their sum is RetinaNet's classification loss in Detectron2
    (``sigmoid_focal_loss_jit(..., reduction="sum")``), up to the order of summation.

    Args:
        pred_logits: (..., K).
        targets: (..., K) 1 for the class of a positive anchor, else 0.
        alpha: balance of positives against negatives.
        gamma: focusing exponent.

    Returns:
        (...) float32.
    """
    losses = sigmoid_focal_loss_jit(
        pred_logits, targets, alpha=alpha, gamma=gamma, reduction="none"
    )
    return losses.sum(dim=-1)


def box_regression_losses(
    box2box_transform: Box2BoxTransform | Box2BoxTransformLinear,
    anchors: Tensor,
    pred_anchor_deltas: Tensor,
    gt_boxes: Tensor,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """Box regression loss of each positive anchor, summed over its four coordinates.

    Their sum is what Detectron2's dense heads and ROI heads compute (``_dense_box_regression_loss``
    in ``detectron2/modeling/box_regression.py``).

    Args:
        box2box_transform: how deltas relate anchors to boxes.
        anchors: (P, 4) XYXY pixels of the positive anchors.
        pred_anchor_deltas: (P, 4) their predicted deltas.
        gt_boxes: (P, 4) XYXY pixels of the objects they matched.
        box_reg_loss_type: ``smooth_l1``, ``giou``, ``diou`` or ``ciou``.
        smooth_l1_beta: where smooth L1 turns from quadratic to linear; 0 is L1.

    Returns:
        (P,) losses.

    Raises:
        ConfigError: if the type is none of the four.
    """
    if box_reg_loss_type == "smooth_l1":
        gt_deltas = box2box_transform.get_deltas(anchors, gt_boxes)
        return smooth_l1_loss(pred_anchor_deltas, gt_deltas, smooth_l1_beta).sum(dim=-1)
    if box_reg_loss_type not in _IOU_LOSSES:
        raise ConfigError(
            "the box regression loss type must be one of smooth_l1, giou, diou, ciou; "
            f"got {box_reg_loss_type!r}."
        )
    # In mixed precision Box2BoxTransformLinear would decode into half precision.
    pred_anchor_deltas = pred_anchor_deltas.to(anchors.dtype)
    pred_boxes = box2box_transform.apply_deltas(pred_anchor_deltas, anchors)
    return _IOU_LOSSES[box_reg_loss_type](pred_boxes, gt_boxes, reduction="none")
