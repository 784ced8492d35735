"""Configs and models of the laptop's detectors, on small images."""

from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from scb_d2 import build_model
from scb_d2.engine.config.load import load_config
from tests.projects.builders import training_input

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
DETECTORS = ("retinanet", "faster_rcnn", "ssd")
SIDE = 64

SMALL = (
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.SSD.IMAGE_SIZE", SIDE),
    *("MODEL.SSD.MIN_SIZES", [8, 16, 24, 32, 48]),
    *("MODEL.SSD.MAX_SIZES", [16, 24, 32, 48, 64]),
)
"""Image size of the SSD; the others take any."""


def laptop_config(detector: str, *opts: Any) -> CfgNode:
    """The config of a laptop's detector, without weights."""
    path = CONFIGS / f"laptop_{detector}.yaml"
    return load_config(str(path), [*SMALL, "MODEL.WEIGHTS", "", *opts])


def build_laptop(detector: str, *opts: Any) -> nn.Module:
    """The model of it, with the same random weights each time."""
    torch.manual_seed(0)
    return build_model(laptop_config(detector, *opts))


def batch() -> list[dict[str, Any]]:
    """An image with objects of three sizes, and one without any."""
    boxes = [(4, 4, 16, 15), (20, 22, 60, 58), (40, 2, 58, 20)]
    return [training_input(boxes, [0, 1, 2], SIDE), training_input([], size=SIDE)]
