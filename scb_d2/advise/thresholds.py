"""Thresholds of detection that no training can pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .finding import Change, Finding
from .measure import DataCounts
from .situation import Situation

__all__ = ["advise_thresholds", "touching_pairs"]

_LEAST_OBJECTS, _LEAST_SHARE = 5, 0.02
_HIGHEST_NMS = 0.65
_TWIN = 0.9


def advise_thresholds(situation: Situation) -> list[Finding]:
    """NMS against objects that touch, and the lowest score against what is measured."""
    found = [_nms(situation), _score(situation)]
    return [finding for finding in found if finding is not None]


def touching_pairs(data: DataCounts, threshold: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pairs of objects of one class and image that overlap by more than a threshold.

    Args:
        data: the objects.
        threshold: IoU.

    Returns:
        (P, 2) indices of the objects, and (P,) their IoU.
    """
    group = data.image * len(data.class_names) + data.category
    order = np.lexsort((data.native_boxes[:, 0], group))
    group, boxes = group[order], data.native_boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    pairs, ious = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0)]
    first = np.arange(len(order))
    # By x, an object can only overlap those that follow it and begin before it ends.
    for distance in range(1, len(order)):
        a = first[first + distance < len(order)]
        a = a[(group[a] == group[a + distance]) & (boxes[a + distance, 0] < boxes[a, 2])]
        if not len(a):
            break
        b, first = a + distance, a
        sides = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
        overlap = sides.clip(min=0).prod(axis=1)
        iou = overlap / (areas[a] + areas[b] - overlap)
        kept = iou > threshold
        pairs.append(order[np.stack([a[kept], b[kept]], axis=1)])
        ious.append(iou[kept])
    return np.concatenate(pairs), np.concatenate(ious)


def _nms(situation: Situation) -> Finding | None:
    setting, data = situation.settings.find("nms_threshold"), situation.data
    if setting is None:
        return None
    pairs, ious = touching_pairs(data, setting.value)
    twins = int((ious > _TWIN).sum())
    pairs, ious = pairs[ious <= _TWIN], ious[ious <= _TWIN]
    objects = len(np.unique(pairs))
    if objects < max(_LEAST_OBJECTS, _LEAST_SHARE * len(data)):
        return None
    wanted = min(np.ceil((np.percentile(ious, 90) - 1e-9) * 20) / 20, _HIGHEST_NMS)
    kept = int((ious <= wanted).sum()) if wanted > setting.value else 0
    changes, action = (), ""
    if kept:
        reason = f"{len(pairs)} pairs of one class overlap by more than {setting.value:g}"
        changes = (Change(setting.key, float(round(wanted, 2)), reason),)
    else:
        action = (
            f"No threshold up to {_HIGHEST_NMS:g} keeps them apart, and above it duplicates stay: "
            "they count as one object for this detector. "
        )
    if twins:
        action += (
            f"{twins:,} more pairs overlap by over {_TWIN:g}: look whether they are one object "
            "annotated twice."
        )
    return Finding(
        code="nms",
        title="Let NMS keep objects that touch" if kept else "Objects that NMS takes for one",
        measured=(
            f"{len(pairs):,} pairs of objects of one class, {objects:,} objects, overlap by an IoU "
            f"above the {setting.value:g} of {setting.key}."
        ),
        why="Of two such objects NMS keeps one, however well both are detected.",
        expected=f"{kept:,} of the {len(pairs):,} pairs can both be found.",
        cost=(
            "More duplicates of the same object survive: look at precision beside recall."
            if kept
            else "None: nothing changes."
        ),
        concerns=objects / 2 / len(data),
        changes=changes,
        action=action.strip(),
    )


def _score(situation: Situation) -> Finding | None:
    """Scores at which recall is to be measured, though detections end above them."""
    lowest, asked = (
        situation.settings.find(name) for name in ("score_threshold", "recall_thresholds")
    )
    if lowest is None or asked is None or not asked.value or min(asked.value) >= lowest.value:
        return None
    return Finding(
        code="score",
        title="Keep the detections that recall is measured at",
        measured=(
            f"{asked.key} asks for recall from a score of {min(asked.value):g} on, but detections "
            f"below {lowest.value:g} are dropped ({lowest.key})."
        ),
        why="Recall at the lower score is then that at the higher one.",
        expected="Recall and false positives at the score that was asked for.",
        cost="More detections in the results.",
        concerns=0.0,
        changes=(
            Change(lowest.key, float(min(asked.value)), "recall is measured from it on", True),
        ),
    )
