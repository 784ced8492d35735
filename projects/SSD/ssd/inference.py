"""From the predictions of one image to its detections."""

import torch
from detectron2.layers import batched_nms
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from torch import Tensor

__all__ = ["detect_objects"]


def detect_objects(
    anchors: Tensor,
    pred_scores: Tensor,
    pred_anchor_deltas: Tensor,
    box2box_transform: Box2BoxTransform,
    image_size: tuple[int, int],
    *,
    score_thresh: float = 0.01,
    topk_candidates: int = 400,
    nms_thresh: float = 0.45,
    max_detections: int = 200,
) -> Instances:
    """Decode, keep the best of each class over all levels, suppress overlaps within classes.

    The procedure of Caffe SSD's DetectionOutput layer.

    Args:
        anchors: (R, 4) XYXY pixels.
        pred_scores: (R, K) probabilities, without background.
        pred_anchor_deltas: (R, 4).
        box2box_transform: how deltas relate anchors to boxes.
        image_size: (height, width) of the network's input.
        score_thresh: only higher scores count.
        topk_candidates: boxes of each class that enter the suppression.
        nms_thresh: IoU above which the lower-scored box of the same class goes.
        max_detections: detections kept.

    Returns:
        ``pred_boxes``, ``scores`` and ``pred_classes``, best first.
    """
    num_candidates = min(topk_candidates, len(pred_scores))
    scores, anchor_idxs = pred_scores.topk(num_candidates, dim=0)  # (topk, K)
    keep = scores > score_thresh
    classes = torch.arange(pred_scores.shape[1], device=scores.device).expand_as(scores)[keep]
    scores, anchor_idxs = scores[keep], anchor_idxs[keep]
    boxes = box2box_transform.apply_deltas(pred_anchor_deltas[anchor_idxs], anchors[anchor_idxs])
    keep = batched_nms(boxes, scores, classes, nms_thresh)[:max_detections]
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=scores[keep],
        pred_classes=classes[keep],
    )
