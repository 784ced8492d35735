"""Images without objects, and classes with few."""

from __future__ import annotations

import numpy as np

from .finding import Change, Finding
from .situation import Situation

__all__ = ["advise_classes", "advises_empty_images"]

_LEAST_EMPTY = 0.05
_RARE, _RARER = 0.05, 10  # share of the images; times rarer than the most frequent class
_MOST_REPEATS = 3
_FEW_OBJECTS = 20
_SHOWN = 5


def advise_classes(situation: Situation) -> list[Finding]:
    """What of the data a config leaves out or hardly ever shows."""
    found = [_empty(situation), _rare(situation)]
    return [finding for finding in found if finding is not None]


def advises_empty_images(situation: Situation) -> bool:
    """Whether the images without objects are left out, and many enough to be missed."""
    setting = situation.settings.find("filter_empty")
    share = (situation.data.per_image == 0).mean()
    return bool(setting is not None and setting.value and share >= _LEAST_EMPTY)


def _empty(situation: Situation) -> Finding | None:
    if not advises_empty_images(situation):
        return None
    setting, data = situation.settings.find("filter_empty"), situation.data
    empty = int((data.per_image == 0).sum())
    share = empty / data.num_images
    return Finding(
        code="empty_images",
        title="Train on the images without objects too",
        measured=(
            f"{empty:,} of {data.num_images:,} images ({share:.1%}) hold no object, and "
            f"{setting.key} leaves them out of training."
        ),
        why="They show what is no object; where tests hold such images they cost precision.",
        expected="Fewer false positives, so more objects at equal false positives.",
        cost=f"{share / (1 - share):.1%} more images an epoch.",
        concerns=share,
        changes=(Change(setting.key, False, f"{empty} images hold no object"),),
    )


def _rare(situation: Situation) -> Finding | None:
    data, find = situation.data, situation.settings.find
    sampler, threshold = find("sampler"), find("repeat_threshold")
    shown = np.unique(np.stack([data.image, data.category], axis=1), axis=0)[:, 1]
    images = np.bincount(shown, minlength=len(data.class_names))
    objects = np.bincount(data.category, minlength=len(data.class_names))
    share = images / data.num_images
    rare = np.flatnonzero((images > 0) & (share < _RARE) & (images * _RARER < images.max()))
    repeats = sampler is None or str(sampler.value).endswith("RepeatFactorTrainingSampler")
    if not len(rare) or repeats:
        return None
    rare = rare[np.argsort(images[rare], kind="stable")]
    listed = ", ".join(
        f"{data.class_names[k]} ({images[k]:,} images, {objects[k]:,} objects)"
        for k in rare[:_SHOWN]
    )
    more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
    # An image is repeated by the root of threshold / share of its rarest class.
    value = float(
        np.format_float_positional(_MOST_REPEATS**2 * share[rare[0]], 2, fractional=False)
    )
    value = min(value, _RARE)
    few = objects[rare] < _FEW_OBJECTS
    action = ""
    if threshold is None:
        action = (
            "Give the loader Detectron2's RepeatFactorTrainingSampler with the threshold "
            f"{value:g} as its sampler. "
        )
    if few.any():
        action += (
            f"{int(few.sum())} of them have fewer than {_FEW_OBJECTS} objects: repeating these "
            "teaches them by heart; annotate more."
        )
    changes = ()
    if threshold is not None:
        reason = "images of rare classes are shown more often"
        changes = (
            Change(sampler.key, "RepeatFactorTrainingSampler", reason),
            Change(threshold.key, value, "classes in fewer of the images are repeated"),
        )
    return Finding(
        code="rare_classes",
        title="Show images of rare classes more often",
        measured=f"{len(rare)} classes are in less than {_RARE:.0%} of the images: {listed}{more}.",
        why="A class that is hardly ever shown is hardly ever detected.",
        expected=(
            f"Images of the rarest class come {_repeats(value, share[rare[0]]):.2g} times an epoch."
        ),
        cost="In as many iterations frequent classes come less often.",
        concerns=float(objects[rare].sum() / len(data)),
        changes=changes,
        action=action.strip(),
    )


def _repeats(threshold: float, share: float) -> float:
    return max(1.0, float(np.sqrt(threshold / share)))
