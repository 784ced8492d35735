"""How long, how fast and from what a detector is trained."""

from __future__ import annotations

import numpy as np

from .classes import advises_empty_images
from .finding import Change, Finding
from .situation import Situation

__all__ = ["advise_recipe"]

# Detectron2's rate for one image of a batch: 0.01 and 0.02 for 16.
_RATE_PER_IMAGE = {"retinanet": 0.01 / 16, "rcnn": 0.02 / 16, "rpn": 0.02 / 16}
_TOO_FAST = 2.0
_LEAST_EPOCHS, _EPOCHS = 8.0, 12.0
_TRAINED_NORMS = ("BN", "GN", "SyncBN", "LN")


def advise_recipe(situation: Situation) -> list[Finding]:
    """Learning rate against batch, weights against normalisation, schedule against data."""
    found = [_from_scratch(situation), _rate(situation), _schedule(situation)]
    return [finding for finding in found if finding is not None]


def _from_scratch(situation: Situation) -> Finding | None:
    find = situation.settings.find
    weights, freeze = find("weights"), find("freeze_at")
    norms = situation.settings.frozen_norms()
    if weights is None or weights.value or not norms:
        return None
    reason = "FrozenBN without weights never normalises anything"
    changes = [Change(key, "BN", reason) for key in norms]
    frozen = 0 if freeze is None else freeze.value
    if frozen > 0:
        changes.append(Change(freeze.key, 0, "layers that are frozen must have been trained"))
    return Finding(
        code="frozen_norm",
        title="Train the normalisation, or start from weights",
        measured=(
            f"{weights.key} is empty and {norms[0]} FrozenBN: statistics and scales stay at 0 and 1"
            + (f", and {frozen} stages stay at their random values." if frozen > 0 else ".")
        ),
        why="Activations grow from layer to layer and the loss diverges.",
        expected="A loss that falls.",
        cost="Batch statistics need some images a process; GN does not.",
        concerns=1.0,
        changes=tuple(changes),
        action=(
            f"Better where there is a network for your backbone: {weights.key} with pretrained "
            "weights, which need far fewer images."
        ),
    )


def _rate(situation: Situation) -> Finding | None:
    find, stock = situation.settings.find, _RATE_PER_IMAGE.get(situation.settings.kind)
    rate, batch, clip = find("learning_rate"), find("batch"), find("clip_gradients")
    automatic = find("reference_world_size")
    if stock is None or rate is None or batch is None:
        return None
    # Clipped gradients and normalised layers bear larger rates.
    if any(setting is not None and setting.value for setting in (clip, find("fpn_norm"))):
        return None
    if automatic is not None and automatic.value > 0:
        return None
    times = rate.value / batch.value / stock
    if times < _TOO_FAST:
        return None
    wanted = float(f"{stock * batch.value:.2g}")
    return Finding(
        code="learning_rate",
        title="Scale the learning rate with the batch",
        measured=(
            f"{rate.key} {rate.value:g} for {batch.value} images is {times:.2g} times Detectron2's "
            f"rate for each image of a batch ({batch.key}), and neither gradients are clipped nor "
            "the added layers normalised."
        ),
        why="A rate for 16 images makes smaller batches diverge (linear scaling rule).",
        expected="A loss that falls; fewer runs that end in nan.",
        cost="As many more iterations for the same number of images seen.",
        concerns=1.0,
        changes=(Change(rate.key, wanted, f"Detectron2's rate, for {batch.value} images"),),
    )


def _schedule(situation: Situation) -> Finding | None:
    find, data = situation.settings.find, situation.data
    batch, iterations, steps = find("batch"), find("iterations"), find("steps")
    if batch is None or iterations is None:
        return None
    empty, dropped = int((data.per_image == 0).sum()), find("filter_empty")
    images = data.num_images - (empty if dropped is not None and dropped.value else 0)
    # Where the images without objects are advised to come back, an epoch is as much longer.
    images_then = data.num_images if advises_empty_images(situation) else images
    epochs = iterations.value * batch.value / images
    if epochs * images / images_then >= _LEAST_EPOCHS:
        return None

    def longer(shown: int) -> tuple[Change, ...]:
        wanted = _round_up(_EPOCHS * shown / batch.value)
        changes = [Change(iterations.key, wanted, f"{_EPOCHS:g} epochs of {shown} images")]
        if steps is not None and any(step < iterations.value for step in steps.value):
            scaled = [round(step * wanted / iterations.value) for step in steps.value]
            changes.append(Change(steps.key, scaled, "at the same parts of the schedule"))
        return tuple(changes)

    together = longer(images_then)
    alone = longer(images) if epochs < _LEAST_EPOCHS else ()
    beside = f", {images_then:,} with those without objects" if images_then > images else ""
    wanted = (alone or together)[0].value
    return Finding(
        code="schedule",
        title="Train longer",
        measured=(
            f"{iterations.value:,} iterations of {batch.value} show each of {images:,} images "
            f"{epochs:.2g} times{beside}; Detectron2's shortest schedule on COCO shows each 12 "
            "times."
        ),
        why="Small objects are learned last.",
        expected="More of everything, as long as the data does not run out.",
        cost=f"{wanted / iterations.value:.2g} times the training time.",
        concerns=float(np.clip(1 - epochs * images / images_then / _EPOCHS, 0, 1)),
        changes=alone,
        together=together,
    )


def _round_up(iterations: float) -> int:
    step = 10 ** max(len(str(int(iterations))) - 2, 0)
    return int(-(-iterations // step) * step)
