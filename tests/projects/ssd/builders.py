"""Configs, models and objects for the tests of SSD."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from scb_d2.projects.ssd import SSD
from tests.projects.builders import build_project, configs_of, project_config

CONFIGS = configs_of("SSD")

GT_BOXES = ((50, 60, 62, 72), (100, 100, 200, 200), (20, 30, 280, 250), (140, 40, 180, 120))
"""The objects of the specification's matching fixture, in 300 px."""

ssd_config = partial(project_config, "SSD")


def build_ssd(name: str, *opts: Any) -> SSD:
    return build_project("SSD", name, *opts)


def toy_ssd(*opts: Any) -> SSD:
    """A small SSD of 160 px and 4 classes."""
    return build_ssd("ssd_toy.yaml", *opts)


def anchors_of(model: SSD) -> list[Tensor]:
    """Anchors per level at the size of the model's input."""
    size = model.image_size
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, size, size))
    return [x.tensor for x in model.anchor_generator([features[x] for x in model.head_in_features])]
