"""Configs, models and predictions for the tests of RefineDet."""

from functools import partial
from typing import Any

import torch
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor

from scb_d2.projects.refinedet import RefineDet
from tests.projects.builders import build_project, configs_of, project_config, training_input

CONFIGS = configs_of("RefineDet")

BOTH_STAGES = ("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", ("first", "second"))

AT_160 = ("MODEL.SSD.IMAGE_SIZE", 160, "MODEL.SSD.MIN_SIZES", (16, 32, 64))

MAP_SIZES = (20, 10, 5)
"""Sides of the toy's maps at 160 px."""

NUM_ANCHORS = 3 * (20 * 20 + 10 * 10 + 5 * 5)
"""R of the toy at 160 px."""


refinedet_config = partial(project_config, "RefineDet")


def toy_refinedet(*opts: Any) -> RefineDet:
    """RefineDet of 160 px and 4 classes; the same weights at each call."""
    torch.manual_seed(0)
    return build_project("RefineDet", "refinedet_toy.yaml", *AT_160, *opts)


def scene() -> list[dict[str, Any]]:
    """Two images: objects of three sizes, and one object."""
    return [
        training_input([(10, 10, 40, 40), (60, 60, 130, 140), (100, 20, 112, 30)], [0, 1, 2]),
        training_input([(30, 70, 90, 120)], [3]),
    ]


def as_levels(flat: Tensor) -> list[Tensor]:
    """Predictions (N, R, D) of the toy as its head returns them, (N, 3 x D, H, W) per level."""
    n, _, depth = flat.shape
    parts = flat.split([3 * s * s for s in MAP_SIZES], dim=1)
    return [
        part.reshape(n, s, s, 3 * depth).permute(0, 3, 1, 2)
        for part, s in zip(parts, MAP_SIZES, strict=True)
    ]


def toy_anchors(model: RefineDet) -> Boxes:
    return Boxes.cat(model.anchor_generator([torch.zeros(1, 1, s, s) for s in MAP_SIZES]))


def losses_of(
    model: RefineDet,
    gt_instances: list[Instances],
    arm_logits: Tensor,
    arm_deltas: Tensor,
    odm_logits: Tensor,
    odm_deltas: Tensor,
) -> tuple[dict[str, Tensor], EventStorage]:
    """The toy's losses for given predictions (N, R, D), and what was logged."""
    n = len(gt_instances)
    images = ImageList(torch.zeros(n, 3, 160, 160), [(160, 160)] * n)
    features = [torch.zeros(n, 1, s, s) for s in MAP_SIZES]
    predictions = [as_levels(x) for x in (arm_logits, arm_deltas, odm_logits, odm_deltas)]
    with EventStorage() as storage:
        return model.forward_training(images, features, predictions, gt_instances), storage


def random_predictions(n: int, num_classes: int = 4) -> list[Tensor]:
    """ARM logits and deltas, ODM logits and deltas, with gradients."""
    return [
        torch.randn(n, NUM_ANCHORS, depth).requires_grad_() for depth in (2, 4, num_classes + 1, 4)
    ]
