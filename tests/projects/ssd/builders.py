"""Configs, models and inputs for the tests of SSD."""

from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import Tensor

from scb_d2 import build_model
from scb_d2.engine.setup import load_config
from scb_d2.projects.ssd import SSD

CONFIGS = Path(__file__).resolve().parents[3] / "projects" / "SSD" / "configs"

GT_BOXES = ((50, 60, 62, 72), (100, 100, 200, 200), (20, 30, 280, 250), (140, 40, 180, 120))
"""The objects of the specification's matching fixture, in 300 px."""


def ssd_config(name: str, *opts: Any) -> CfgNode:
    """A config of projects/SSD/configs on the CPU, without downloads."""
    return load_config(str(CONFIGS / name), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *opts])


def build_ssd(name: str, *opts: Any) -> SSD:
    return build_model(ssd_config(name, *opts))


def toy_ssd(*opts: Any) -> SSD:
    """A small SSD of 160 px and 4 classes."""
    return build_ssd("ssd_toy.yaml", *opts)


def anchors_of(model: SSD) -> list[Tensor]:
    """Anchors per level at the size of the model's input."""
    size = model.image_size
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, size, size))
    return [x.tensor for x in model.anchor_generator([features[x] for x in model.head_in_features])]


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
    return {
        "image": torch.randint(0, 256, (3, size, size), dtype=torch.uint8),
        "instances": objects(boxes, classes, size),
    }
