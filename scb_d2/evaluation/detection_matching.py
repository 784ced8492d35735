"""Which detection finds which object: all images at once.

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

from .ordering import rank_in_group, stable_order
from .pairs import Pairs, find_pairs

__all__ = ["MATCH_RULES", "ScoredMatches", "greedy_match", "match_by_score"]

Array = NDArray[Any]

MATCH_RULES = {
    "greedy": "one-to-one by falling score within a class (COCO's rule)",
    "any": "any detection of any class in the image (the paper's wording)",
}


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


def greedy_match(
    pairs: Pairs, iou_thresholds: Sequence[float], ignored: Array, reusable: Array
) -> Array:
    """COCO's matching for T IoU thresholds and A sets of ignored objects at once.

    A detection takes the free object of highest IoU, one that is not ignored before any ignored
    one; of equal IoUs the later object, as COCO's code does.

    Args:
        pairs: from :func:`find_pairs`.
        iou_thresholds: T ascending thresholds, none below the pairs' lowest IoU.
        ignored: (A, G) bool.
        reusable: (G,) bool, objects that any number of detections may take: crowd (COCO) and
            difficult (PASCAL VOC).

    Returns:
        (A, T, P) bool, whether the detection of a pair takes the object.
    """
    thresholds = np.minimum(np.asarray(iou_thresholds, dtype=np.float64), 1 - 1e-10)
    taken = _first_come(pairs, thresholds, reusable)
    taken = np.broadcast_to(taken, (len(ignored), *taken.shape)).copy()
    # A detection that overlaps several objects chooses, and may leave one to those that follow.
    # Ranks of one group ascend, so a group starts where the rank does not.
    group = np.cumsum(pairs.rank == 0).take(pairs.detection)
    chooses = group[1:][np.diff(pairs.detection) == 0]
    if len(chooses):
        rows = np.flatnonzero(np.isin(group, chooses))
        taken[:, :, rows] = _in_turn(pairs, rows, group[rows], thresholds, ignored, reusable)
    return taken


def _first_come(pairs: Pairs, thresholds: Array, reusable: Array) -> Array:
    """(T, P) bool, :func:`greedy_match` where no detection overlaps two objects.

    An object goes to the first detection that overlaps it enough: at all thresholds up to the
    pair's IoU but those up to the highest IoU before it.
    """
    reached = np.searchsorted(thresholds, pairs.iou, side="right")
    by_target = stable_order(pairs.target)
    # Lifted by object, the numbers of each lie above those of all before.
    lift = pairs.target.take(by_target) * (len(thresholds) + 1)
    highest = np.maximum.accumulate(reached.take(by_target) + lift)
    before = np.zeros_like(highest)
    before[by_target[1:]] = np.maximum(highest[:-1] - lift[1:], 0)
    before[reusable.take(pairs.target)] = 0
    number = np.arange(len(thresholds), dtype=np.uint16)[:, None]
    return (before.astype(np.uint16) <= number) & (number < reached.astype(np.uint16))


def _in_turn(
    pairs: Pairs, rows: Array, group: Array, thresholds: Array, ignored: Array, reusable: Array
) -> Array:
    """(A, T, p) bool, :func:`greedy_match` of some groups of pairs, detection after detection.

    Args:
        pairs: all.
        rows: (p,) the pairs of these groups.
        group: (p,) of each, ascending.
        thresholds: T of them.
        ignored: (A, G) bool.
        reusable: (G,) bool.
    """
    detection, target, iou = pairs.detection[rows], pairs.target[rows], pairs.iou[rows]
    # A pair's place by IoU, ties by place in the file, is unique: the highest one names its pair.
    by_iou = np.argsort(iou, kind="stable")
    place = np.empty(len(by_iou), dtype=np.int64)
    place[by_iou] = np.arange(len(by_iou))
    starts = np.r_[True, np.diff(detection) != 0]
    turn = rank_in_group(group[starts])[np.cumsum(starts) - 1]
    by_turn = stable_order(turn)

    out = np.zeros((len(ignored), len(thresholds), len(rows)), dtype=bool)
    used = np.zeros((len(ignored), len(thresholds), ignored.shape[1]), dtype=bool)
    # Round r: the r-th detection, among those with a pair, of every image and class.
    for now in np.split(by_turn, np.flatnonzero(np.diff(turn[by_turn])) + 1):
        targets = target[now]
        free = (iou[now] >= thresholds[:, None]) & ~used[:, :, targets]
        value = place[now] + len(by_iou) * ~ignored[:, None, targets]
        first = np.flatnonzero(starts[now])
        best = np.maximum.reduceat(np.where(free, value, -1), first, axis=2)
        area, threshold, column = np.nonzero(best >= 0)
        winner = by_iou[best[area, threshold, column] % len(by_iou)]
        out[area, threshold, winner] = True
        used[area, threshold, target[winner]] = ~reusable[target[winner]]
    return out


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
        hit = np.flatnonzero(greedy_match(pairs, [iou], ignored[None], ignored)[0, 0])
        target, detection = pairs.target[hit], pairs.order[pairs.detection[hit]]
        outcome[pairs.order] = 0
        outcome[detection] = np.where(ignored[target], -1, 1)
        np.maximum.at(object_score, target, detections.scores[detection])
    else:
        outcome[pairs.order] = 0
        detection = pairs.order[pairs.detection]
        # Written second, so that one real object outweighs any number of ignored ones.
        outcome[detection[ignored[pairs.target]]] = -1
        outcome[detection[~ignored[pairs.target]]] = 1
        np.maximum.at(object_score, pairs.target, detections.scores[detection])
    return ScoredMatches(object_score=object_score, outcome=outcome)
