"""Match every object of a data set to the anchors it would be trained with, and count.

Only histograms and capped lists are kept, so memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, RotatedBoxes
from torch import Tensor

from scb_d2.loss.matching import match_counts
from scb_d2.utils.size_groups import size_index

from .anchors import AnchorGeometry, ImageAnchors, positive_threshold
from .near_anchors import match_near
from .network_input import InputImage, InputRule, native_boxes
from .rotated import as_boxes, box_areas, rotated_ious
from .tally import ImageMatches, MatchTally

__all__ = ["SIZE_RULES", "best_ious", "collect_matches", "match_image"]

SIZE_RULES = {
    "input": "area of the box in network-input pixels",
    "native": "area of the box in native pixels",
}


def collect_matches(
    records: Iterable[Mapping[str, Any]],
    geometry: AnchorGeometry,
    input_rule: InputRule,
    class_names: Sequence[str],
    *,
    size_rule: str = "input",
    max_listed: int = 1000,
    max_samples: int = 6,
    seed: int = 0,
    on_image: Callable[[ImageMatches], None] | None = None,
) -> MatchTally:
    """Count the matches of every object of a data set.

    Crowd annotations and boxes without area are left out, as they are in training.

    Args:
        records: images with their annotations, in Detectron2's data set format. Image files are
            not opened.
        geometry: anchors and matcher of the detector.
        input_rule: how an image becomes network input.
        class_names: K names, in the order of ``category_id``.
        size_rule: one of :data:`SIZE_RULES`, what makes an object small, medium or large.
        max_listed: most objects kept in each list of objects.
        max_samples: most images kept for drawing.
        seed: of the random sample of uncovered objects.
        on_image: called with the matches of each image, as for a file of all objects.

    Returns:
        The counts. Their totals equal the number of objects.
    """
    by_iou = isinstance(geometry.matcher, Matcher)
    threshold = positive_threshold(geometry.matcher) if by_iou else None
    tally = MatchTally(
        class_names=list(class_names),
        threshold=threshold,
        max_listed=max_listed,
        max_samples=max_samples,
        seed=seed,
    )
    for record in records:
        matches = match_image(record, geometry, input_rule, size_rule)
        tally.add(matches)
        if on_image is not None:
            on_image(matches)
    return tally


@torch.no_grad()
def match_image(
    record: Mapping[str, Any], geometry: AnchorGeometry, input_rule: InputRule, size_rule: str
) -> ImageMatches:
    """Match the objects of one image. Arguments as in :func:`collect_matches`."""
    image = input_rule(record)
    anchors = geometry.anchors(image.size)
    gt_boxes = as_boxes(image.boxes)
    if len(gt_boxes):
        level_counts, ious = _count(gt_boxes, anchors, geometry, image.size)
    else:
        level_counts = torch.zeros((0, len(anchors.grid_sizes)), dtype=torch.int64)
        ious = torch.zeros(0)
    annotations = [record["annotations"][i] for i in image.kept]
    native = native_boxes(annotations, geometry.rotated)
    return ImageMatches(
        image_id=record.get("image_id"),
        file_name=record.get("file_name", ""),
        annotation_ids=[annotation.get("id") for annotation in annotations],
        classes=np.array([a["category_id"] for a in annotations], dtype=np.int64),
        native_boxes=native,
        input_boxes=image.boxes,
        input_size=image.size,
        sizes=_sizes(image, native, size_rule),
        counts=level_counts.sum(dim=1).numpy(),
        level_counts=level_counts.numpy(),
        best_ious=ious.numpy(),
        left_out=len(record["annotations"]) - len(annotations),
        all_positive=int(level_counts.sum()) == len(anchors.boxes),
    )


def _count(
    gt_boxes: Boxes | RotatedBoxes,
    anchors: ImageAnchors,
    geometry: AnchorGeometry,
    image_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """(G, L) matches of each object at each feature level, and (G,) best IoU with any anchor."""
    if geometry.rotated:
        ious = rotated_ious(gt_boxes, anchors.boxes)
        matched_idxs, anchor_labels = geometry.match(gt_boxes, anchors, image_size, ious)
        counts = _level_counts(matched_idxs, anchor_labels, anchors, len(gt_boxes))
        return counts, ious.amax(dim=1)
    near = match_near(gt_boxes.tensor.numpy(), anchors.grids, geometry.near_rule)
    if near is None:
        matched_idxs, anchor_labels = geometry.match(gt_boxes, anchors, image_size)
        counts = _level_counts(matched_idxs, anchor_labels, anchors, len(gt_boxes))
        return counts, best_ious(gt_boxes, anchors.boxes)
    positive, owners = torch.from_numpy(near.anchors), torch.from_numpy(near.owners)
    if geometry.boundary_threshold >= 0:
        inside = anchors.boxes[positive].inside_box(image_size, geometry.boundary_threshold)
        positive, owners = positive[inside], owners[inside]
    num_levels = len(anchors.grid_sizes)
    levels = torch.bucketize(positive, torch.tensor(anchors.level_starts[1:-1]), right=True)
    places = owners * num_levels + levels
    counts = places.bincount(minlength=len(gt_boxes) * num_levels).reshape(-1, num_levels)
    return counts, torch.from_numpy(near.best_ious)


def best_ious(gt_boxes: Boxes, anchors: Boxes) -> Tensor:
    """(G,) best IoU of each object with any anchor.

    The arithmetic of Detectron2's ``pairwise_iou``, one object at a time, so that neither crowded
    images nor many anchors need memory.
    """
    x0, y0, x1, y1 = anchors.tensor.t().contiguous()
    anchor_areas = (x1 - x0) * (y1 - y0)
    best = []
    for box, area in zip(gt_boxes.tensor, gt_boxes.area(), strict=True):
        width = (torch.minimum(x1, box[2]) - torch.maximum(x0, box[0])).clamp_(min=0)
        height = (torch.minimum(y1, box[3]) - torch.maximum(y0, box[1])).clamp_(min=0)
        overlap = width.mul_(height)
        # Without overlap 0 / 0 can only arise from two boxes of no area, which training drops.
        best.append((overlap / (anchor_areas + area).sub_(overlap)).amax())
    return torch.stack(best)


def _level_counts(
    matched_idxs: Tensor, anchor_labels: Tensor, anchors: ImageAnchors, num_objects: int
) -> Tensor:
    """(G, L) matches of each object at each feature level."""
    starts = anchors.level_starts
    counts = [
        match_counts(matched_idxs[a:b], anchor_labels[a:b], num_objects)
        for a, b in pairwise(starts)
    ]
    return torch.stack(counts, dim=1)


def _sizes(image: InputImage, native: np.ndarray, size_rule: str) -> np.ndarray:
    boxes = native if size_rule == "native" else image.boxes
    return size_index(torch.as_tensor(box_areas(boxes))).numpy()
