"""A whole training step where the images are full of objects."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from detectron2.utils.events import EventStorage

from .harness import Ratio, compare
from .scenes import batch, config
from .training import detector_pair, training_step

_SIZE = (800, 1333)
_TARGETS = {300: 0.9, 1000: 0.6}
_NEVER = 10**9
_PAIRS = 5  # of minutes each


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """RetinaNet R50-FPN on one image of many objects, the loss on against off."""
    size, pairs = ((96, 128), 1) if quick else (_SIZE, _PAIRS)
    on, off = detector_pair(
        config("configs/retinanet_scb.yaml", "MODEL.DEVICE", device, "MODEL.SCB.LOG_PERIOD", _NEVER)
    )
    with EventStorage() as storage:
        storage.iter = 1  # a run's first iteration logs statistics
        for num_objects, target in _TARGETS.items():
            steps = [training_step(model, batch(1, *size, num_objects)) for model in (on, off)]
            height, width = size
            name = f"training step, RetinaNet R50-FPN, {num_objects} objects in {width} x {height}"
            yield compare(name, *steps, pairs, device, target)
            if device != "cpu":
                torch.cuda.empty_cache()
