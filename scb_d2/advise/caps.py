"""Limits on numbers that crowded images exceed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .finding import Change, Finding
from .situation import Matched, Situation

__all__ = ["advise_caps"]

_ROOM = 1.5  # places for what is no object, beside those for the objects
_MULTIPLE = 50


def advise_caps(situation: Situation, then: Matched | None = None) -> list[Finding]:
    """Limits that the data's most crowded images exceed; nothing where none does.

    Args:
        situation: of the config.
        then: matches at the advised input and anchors; None where these stay.
    """
    found = [
        _detections(situation),
        _proposals(situation),
        _candidates(situation, then),
        _sampled(situation),
    ]
    return [finding for finding in found if finding is not None]


def _detections(situation: Situation) -> Finding | None:
    """Detections that are kept, and those that COCO's evaluation takes."""
    data = situation.data
    kept, counted = situation.settings.find("detections_per_image"), _per_image_and_class(data)
    changes, said, lost = [], [], 0
    if kept is not None and kept.value > 0:
        images, objects = _over(data.per_image, kept.value)
        if objects:
            lost = max(lost, objects)
            most = int(data.per_image.max())
            said.append(
                f"{images:,} images hold more than the {kept.value} detections that "
                f"{kept.key} keeps (the fullest {most:,}): at least {objects:,} of the "
                f"{len(data):,} objects cannot be found."
            )
            reason = f"the fullest image holds {most} objects"
            changes.append(Change(kept.key, _roomy(most), reason))
    limit = situation.settings.find("coco_max_dets")
    if limit is not None:
        images, objects = _over(counted, limit.value)
        if objects:
            lost = max(lost, objects)
            most = int(counted.max())
            said.append(
                f"COCO's evaluation takes {limit.value} detections of an image and class; "
                f"{images:,} images hold more objects of one class (the fullest {most:,}), so "
                f"{objects:,} objects count as missed whatever is detected."
            )
            reason = f"an image holds {most} objects of one class; AP is then not COCO's"
            changes.append(Change(limit.key, _roomy(most), reason, evaluation=True))
    if not changes:
        return None
    return Finding(
        code="detections",
        title="Keep as many detections as there are objects",
        measured=" ".join(said),
        why="What is cut off after detection no training brings back.",
        expected=f"{lost:,} more objects can be found.",
        cost="Longer lists of detections; the network is the same.",
        concerns=lost / len(data),
        changes=tuple(changes),
    )


def _proposals(situation: Situation) -> Finding | None:
    """Proposals of an RPN, fewer than the objects they are to find."""
    data = situation.data
    changes, said, lost = [], [], 0
    for split in ("train", "test"):
        limit = situation.settings.find(f"post_nms_topk_{split}")
        if limit is None:
            continue
        images, objects = _over(data.per_image, limit.value)
        if objects:
            most = int(data.per_image.max())
            said.append(
                f"{images:,} images hold more objects than the {limit.value} proposals of "
                f"{limit.key} (the fullest {most:,})."
            )
            lost = max(lost, objects)
            reason = f"the fullest image holds {most} objects"
            changes.append(Change(limit.key, _roomy(2 * most), reason))
    if not changes:
        return None
    changes += list(_room_before(situation, changes))
    return Finding(
        code="proposals",
        title="Let the RPN propose as many boxes as there are objects",
        measured=" ".join(said),
        why="The second stage sees proposals only.",
        expected=f"{lost:,} more objects can be proposed.",
        cost="The second stage runs on as many more boxes.",
        concerns=lost / len(data),
        changes=tuple(changes),
    )


def _room_before(situation: Situation, changes: Sequence[Change]) -> Iterator[Change]:
    """Candidates before NMS, which must not be fewer than what shall survive it."""
    for change in changes:
        name = "train" if change.key.upper().endswith(("TRAIN", ".0")) else "test"
        before = situation.settings.find(f"pre_nms_topk_{name}")
        if before is not None and before.value < 2 * change.value:
            reason = "at least twice what shall survive NMS"
            yield Change(before.key, 2 * change.value, reason)


def _candidates(situation: Situation, then: Matched | None) -> Finding | None:
    """Candidates per level before NMS, fewer than the anchors that match objects."""
    if situation.matched is None:
        return None
    now = _crowded_levels(situation, situation.matched)
    after = _crowded_levels(situation, then) if then is not None else now
    if not now.changes and not after.changes:
        return None
    said = now.said or ["At the advised input or anchors:", *after.said]
    return Finding(
        code="candidates",
        title="Let more candidates reach NMS",
        measured=" ".join(said),
        why=(
            "Large objects match many anchors and fill the list; small ones, with lower scores, "
            "fall off its end before NMS clears the duplicates."
        ),
        expected="Every matching anchor can stay in the list.",
        cost="NMS on longer lists.",
        concerns=now.concerned if now.changes else after.concerned,
        changes=now.changes,
        together=after.changes,
    )


class _Crowded(NamedTuple):
    """Limits that the matches of a level exceed, in words, and the share of matches concerned."""

    changes: tuple[Change, ...]
    said: list[str]
    concerned: float


def _crowded_levels(situation: Situation, matched: Matched) -> _Crowded:
    positives = matched.counts.level_positives
    changes, said, concerned = [], [], 0.0
    for name in ("candidates", "pre_nms_topk_train", "pre_nms_topk_test"):
        limit = situation.settings.find(name)
        if limit is None:
            continue
        crowded = (positives > limit.value).any(axis=1)
        if crowded.any():
            most = int(positives.max())
            said.append(
                f"In {int(crowded.sum()):,} of {len(positives):,} images more anchors of one level "
                f"match objects (up to {most:,}) than the {limit.value} candidates that "
                f"{limit.key} lets through."
            )
            weight = positives.sum(axis=1)
            concerned = max(concerned, float(weight[crowded].sum() / weight.sum()))
            reason = f"up to {most} anchors of a level match objects"
            changes.append(Change(limit.key, _roomy(most), reason))
    return _Crowded(tuple(changes), said, concerned)


def _sampled(situation: Situation) -> Finding | None:
    """Regions that an iteration trains on, fewer than its objects."""
    data = situation.data
    batch = situation.settings.find("roi_batch")
    fraction = situation.settings.find("roi_positive_fraction")
    if batch is None or fraction is None:
        return None
    places = int(batch.value * fraction.value)
    images, objects = _over(data.per_image, places)
    if not objects:
        return None
    most = int(data.per_image.max())
    wanted = math.ceil(most * _ROOM / fraction.value / 64) * 64
    return Finding(
        code="roi_batch",
        title="Train the second stage on all objects of an image",
        measured=(
            f"{images:,} images hold more objects than the {places} foreground regions "
            f"({batch.key} {batch.value} x {fraction.value:g}) that an iteration takes (the "
            f"fullest {most:,}); at least {objects:,} objects are left out each time."
        ),
        why="Regions are drawn at random, and objects of many proposals are drawn more often.",
        expected="Every object can be trained on in every epoch.",
        cost=f"{wanted} regions an image in place of {batch.value}: memory and time of the heads.",
        concerns=objects / len(data),
        changes=(Change(batch.key, wanted, f"the fullest image holds {most} objects"),),
    )


def _per_image_and_class(data: Any) -> NDArray[Any]:
    """(N, K) objects of each class in each image."""
    classes = len(data.class_names)
    counts = np.bincount(data.image * classes + data.category, minlength=data.num_images * classes)
    return counts.reshape(data.num_images, classes)


def _over(counts: NDArray[Any], limit: int) -> tuple[int, int]:
    """Images above a limit, and the objects beyond it."""
    beyond = np.maximum(counts - limit, 0)
    images = (beyond > 0).any(axis=1) if beyond.ndim == 2 else beyond > 0
    return int(images.sum()), int(beyond.sum())


def _roomy(most: int) -> int:
    return math.ceil(most * _ROOM / _MULTIPLE) * _MULTIPLE
