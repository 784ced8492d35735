"""Configs, models and inputs for the tests of all projects."""

from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import nn

from scb_d2 import build_model
from scb_d2.engine.config.load import load_config


def configs_of(project: str) -> Path:
    """The folder of a project's configs; ``project`` as its folder is called."""
    return Path(__file__).resolve().parents[2] / "projects" / project / "configs"


def project_config(project: str, name: str, *opts: Any, device: str = "cpu") -> CfgNode:
    """A config of a project, without downloads."""
    path = configs_of(project) / name
    return load_config(str(path), ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", *opts])


def build_project(project: str, name: str, *opts: Any) -> nn.Module:
    """The model of a config of a project."""
    return build_model(project_config(project, name, *opts))


def objects(boxes: Any, classes: Any = None, size: int = 160) -> Instances:
    """Objects of one image; classes 0 by default."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    classes = [0] * len(boxes) if classes is None else classes
    return Instances(
        (size, size),
        gt_boxes=Boxes(boxes),
        gt_classes=torch.as_tensor(classes, dtype=torch.int64),
    )


def training_input(boxes: Any, classes: Any = None, size: int = 160) -> dict[str, Any]:
    """An image of noise with objects."""
    return {
        "image": torch.randint(0, 256, (3, size, size), dtype=torch.uint8),
        "instances": objects(boxes, classes, size),
    }
