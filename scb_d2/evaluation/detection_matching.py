"""Which detection finds which object: every pair of one image at once, no loop over images.

`greedy` is COCO's rule (`COCOeval.evaluateImg`): within an image and class, detections choose by
falling score, each the free object it overlaps most. `any` is the wording of the paper's section
4.1.3: a box counts where its IoU with any ground truth of the image suffices.

Naming convention: G objects, D detections, P pairs of the two, T IoU thresholds, A area ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.errors import ConfigError

from .ordering import rank_in_group, sorted_by_score

__all__ = [
    "MATCH_RULES",
    "Pairs",
    "ScoredMatches",
    "find_pairs",
    "greedy_match",
    "match_by_score",
    "match_candidates",
]

Array = NDArray[Any]

MATCH_RULES = {
    "greedy": "one-to-one by falling score within a class (COCO's rule)",
    "any": "any detection of any class in the image (the paper's wording)",
}

_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Pairs:
    """Overlapping pairs of a detection and an object, by detection.

    Attributes:
        order: (D',) detections considered, by image, class and falling score.
        rank: (D',) place of each within its image and class, from 0.
        detection: (P,) index into `order`, ascending.
        target: (P,) index of the object; ascending within a detection.
        iou: (P,) float64.
    """

    order: Array
    rank: Array
    detection: Array
    target: Array
    iou: Array

    def first(self, max_detections: int) -> Pairs:
        """Those of the first detections of every image and class."""
        kept = self.rank < max_detections
        if kept.all():
            return self
        rows = kept[self.detection]
        return Pairs(
            order=self.order[kept],
            rank=self.rank[kept],
            detection=(np.cumsum(kept) - 1)[self.detection[rows]],
            target=self.target[rows],
            iou=self.iou[rows],
        )


@dataclass(frozen=True)
class ScoredMatches:
    """What one matching says of every object and detection, at every score threshold at once.

    Greedy matching by falling score is prefix-consistent: leaving out detections below a score
    changes nothing above it. So an object is found at threshold s where `object_score >= s`.

    Attributes:
        object_score: (G,) score of the detection that finds the object, -inf where none does.
        outcome: (D,) int8: 1 true positive, 0 false positive, -1 ignored.
    """

    object_score: Array
    outcome: Array


def find_pairs(
    ground_truth: GroundTruth,
    detections: Detections,
    min_iou: float,
    *,
    max_detections: int | None = None,
    per_class: bool = True,
) -> Pairs:
    """Pairs of detection and object of the same image (and class) with IoU of at least `min_iou`.

    Args:
        ground_truth: G objects.
        detections: D detections.
        min_iou: lowest IoU kept, > 0; with a crowd, intersection over the detection's area.
        max_detections: most detections per image and class (per image without classes), by score.
        per_class: whether the classes must agree.
    """
    num_classes = ground_truth.num_classes if per_class else 0
    groups = [detections.category, detections.image] if per_class else [detections.image]
    order = sorted_by_score(detections.scores, *groups)
    key = _group_key(detections, num_classes)
    rank = rank_in_group(key[order])
    if max_detections is not None:
        kept = rank < max_detections
        order, rank = order[kept], rank[kept]

    target_key = _group_key(ground_truth, num_classes)
    target_order = np.argsort(target_key, kind="stable")
    target_key = target_key[target_order]
    first = np.searchsorted(target_key, key[order], side="left")
    count = np.searchsorted(target_key, key[order], side="right") - first

    found = []
    limits = np.searchsorted(
        np.cumsum(count), np.arange(_PAIRS_AT_ONCE, count.sum(), _PAIRS_AT_ONCE)
    )
    for rows in np.split(np.arange(len(order)), np.unique(limits)):
        counts = count[rows]
        detection = np.repeat(rows, counts)
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        target = target_order[np.repeat(first[rows], counts) + step]
        iou = _iou(
            detections.boxes[order[detection]],
            ground_truth.boxes[target],
            ground_truth.crowd[target],
        )
        kept = iou >= min_iou
        found.append((detection[kept], target[kept], iou[kept]))
    detection, target, iou = (np.concatenate(column) for column in zip(*found, strict=True))
    return Pairs(order=order, rank=rank, detection=detection, target=target, iou=iou)


def greedy_match(
    pairs: Pairs, iou_thresholds: Sequence[float], ignored: Array, reusable: Array
) -> Array:
    """COCO's matching for T IoU thresholds and A sets of ignored objects at once.

    A detection takes the free object of highest IoU, one that is not ignored before any ignored
    one; of equal IoUs the later object, as COCO's code does.

    Args:
        pairs: from :func:`find_pairs`, per class.
        iou_thresholds: T thresholds, none below the pairs' lowest IoU.
        ignored: (A, G) bool.
        reusable: (G,) bool, objects that any number of detections may take: crowd (COCO) and
            difficult (PASCAL VOC).

    Returns:
        (A, T, D') int32, index of the object that each detection of `pairs.order` takes, else -1.
    """
    candidates, matched = match_candidates(pairs, iou_thresholds, ignored, reusable)
    out = np.full((*matched.shape[:2], len(pairs.order)), -1, dtype=np.int32)
    out[:, :, candidates] = matched
    return out


def match_candidates(
    pairs: Pairs, iou_thresholds: Sequence[float], ignored: Array, reusable: Array
) -> tuple[Array, Array]:
    """As :func:`greedy_match`, of the detections alone that have a pair.

    Returns:
        (C,) ascending indices into `pairs.order`, and (A, T, C) int32 objects.
    """
    thresholds = np.minimum(np.asarray(iou_thresholds, dtype=np.float64), 1 - 1e-10)
    num_areas, num_targets = ignored.shape
    first = np.r_[True, np.diff(pairs.detection) != 0][: len(pairs.detection)]
    candidates, column_of = pairs.detection[first], np.cumsum(first) - 1
    matched = np.full((num_areas, len(thresholds), len(candidates)), -1, dtype=np.int32)

    # A pair's place by IoU, ties by place in the file, is unique: the highest one names its pair.
    by_iou = np.argsort(pairs.iou, kind="stable")
    place = np.empty(len(by_iou), dtype=np.int64)
    place[by_iou] = np.arange(len(by_iou))

    taken = np.zeros((num_areas, len(thresholds), num_targets), dtype=bool)
    # Round r: the r-th detection, among those with a pair, of every image and class.
    for rows in _rounds(pairs, candidates, column_of):
        target, columns = pairs.target[rows], column_of[rows]
        starts = np.flatnonzero(np.r_[True, np.diff(columns) != 0])
        free = pairs.iou[rows] >= thresholds[:, None]
        free = free[None] & ~taken[:, :, target]
        value = place[rows] + len(by_iou) * ~ignored[:, None, target]
        best = np.maximum.reduceat(np.where(free, value, -1), starts, axis=2)
        area, threshold, column = np.nonzero(best >= 0)
        winner = pairs.target[by_iou[best[area, threshold, column] % len(by_iou)]]
        matched[area, threshold, columns[starts][column]] = winner
        taken[area, threshold, winner] = ~reusable[winner]
    return candidates, matched


def match_by_score(
    ground_truth: GroundTruth,
    detections: Detections,
    *,
    iou: float = 0.5,
    rule: str = "greedy",
    max_detections: int | None = None,
    pairs: Pairs | None = None,
) -> ScoredMatches:
    """Match once for every score threshold.

    Under `any` an object is found by every detection of its image, of any class, whose IoU
    suffices, and a detection is right where it finds an object. Under both rules a detection
    that only meets crowd or difficult objects is ignored.

    Args:
        ground_truth: G objects.
        detections: D detections.
        iou: lowest IoU of a match, in (0, 1].
        rule: a key of :data:`MATCH_RULES`.
        max_detections: most detections per image and class (`any`: per image); None: all.
        pairs: all of a class with an IoU of at least 0.5, which spare `greedy` matching from `iou`
            0.5 on to look for them.

    Raises:
        ConfigError: `iou` or `rule` is not allowed.
    """
    if not 0 < iou <= 1:
        raise ConfigError(f"IoU threshold {iou}: must lie in (0, 1].")
    if rule not in MATCH_RULES:
        raise ConfigError(f"match rule {rule!r}: must be {' or '.join(MATCH_RULES)}.")
    min_iou = min(iou, 1 - 1e-10)
    if pairs is None or rule != "greedy" or iou < 0.5:
        pairs = find_pairs(
            ground_truth,
            detections,
            min_iou,
            max_detections=max_detections,
            per_class=rule == "greedy",
        )
    elif max_detections is not None:
        pairs = pairs.first(max_detections)
    ignored = ground_truth.ignored
    object_score = np.full(len(ground_truth), -np.inf)
    outcome = np.full(len(detections), -1, dtype=np.int8)
    if rule == "greedy":
        matched = greedy_match(pairs, [iou], ignored[None], ignored)[0, 0]
        hit = matched >= 0
        outcome[pairs.order] = hit
        outcome[pairs.order[hit]] = np.where(ignored[matched[hit]], -1, 1)
        np.maximum.at(object_score, matched[hit], detections.scores[pairs.order[hit]])
    else:
        outcome[pairs.order] = 0
        detection = pairs.order[pairs.detection]
        # Written second, so that one real object outweighs any number of ignored ones.
        outcome[detection[ignored[pairs.target]]] = -1
        outcome[detection[~ignored[pairs.target]]] = 1
        np.maximum.at(object_score, pairs.target, detections.scores[detection])
    return ScoredMatches(object_score=object_score, outcome=outcome)


def _group_key(items: Detections | GroundTruth, num_classes: int) -> Array:
    """One integer per image and class, or per image where `num_classes` is 0."""
    return items.image * num_classes + items.category if num_classes else items.image


def _iou(detection: Array, target: Array, crowd: Array) -> Array:
    """IoU of rows of (x, y, width, height), in the order of operations of pycocotools' `bbIou`."""
    end = np.minimum(detection[:, 2:] + detection[:, :2], target[:, 2:] + target[:, :2])
    side = end - np.maximum(detection[:, :2], target[:, :2])
    overlap = np.where((side > 0).all(1), side[:, 0] * side[:, 1], 0.0)
    area = detection[:, 2] * detection[:, 3]
    union = np.where(crowd, area, area + target[:, 2] * target[:, 3] - overlap)
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def _rounds(pairs: Pairs, candidates: Array, column_of: Array) -> list[Array]:
    """Rows of the pairs, split by the place of their detection among its group's with a pair."""
    if not len(candidates):
        return []
    # Ranks of one group ascend, so a group starts where the rank does not.
    group = np.cumsum(pairs.rank == 0)[candidates]
    turn = rank_in_group(group)[column_of]
    order = np.argsort(turn, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(turn[order])) + 1)
