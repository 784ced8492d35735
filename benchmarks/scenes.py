"""Anchors, objects and detectors of common sizes."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, Instances

from scb_d2 import get_cfg
from scb_d2.projects import add_project_configs

__all__ = ["anchors_of", "batch", "config", "objects"]

_STRIDES = (8, 16, 32, 64, 128)


def anchors_of(count: int) -> Boxes:
    """At least ``count`` anchors of RetinaNet's pyramid over a 4:3 image, cut to ``count``."""
    generator = DefaultAnchorGenerator(
        sizes=[[4 * s, 5.04 * s, 6.35 * s] for s in _STRIDES],
        aspect_ratios=[[0.5, 1.0, 2.0]],
        strides=list(_STRIDES),
    )
    height = 64
    while True:
        grids = [(-(-height // s), -(-height * 4 // 3 // s)) for s in _STRIDES]
        if sum(h * w for h, w in grids) * 9 >= count:
            break
        height += 16
    boxes = Boxes.cat(generator([torch.zeros(1, 1, h, w) for h, w in grids]))
    # The coarsest levels come last: cutting at the end would leave only small anchors.
    return Boxes(boxes.tensor[len(boxes) - count :])


def objects(count: int, width: float = 1344, height: float = 800, seed: int = 0) -> Boxes:
    """Boxes with log-uniform sides from 8 px to 300 px."""
    random = torch.Generator().manual_seed(seed)
    sides = torch.exp(torch.rand(count, 2, generator=random) * 3.6 + 2.08)
    centres = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
    return Boxes(torch.cat([centres - sides / 2, centres + sides / 2], 1))


def config(path: str, *opts: Any) -> CfgNode:
    """A config of the project without weights, on the CPU unless ``opts`` say otherwise."""
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.merge_from_file(path)
    cfg.merge_from_list(["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *opts])
    return cfg


def batch(images: int, height: int, width: int, num_objects: int = 7) -> list[dict[str, Any]]:
    """Training images of noise with random objects."""
    mapped = []
    for index in range(images):
        instances = Instances((height, width))
        instances.gt_boxes = objects(num_objects, width, height, seed=index)
        instances.gt_boxes.clip((height, width))
        instances.gt_classes = torch.arange(num_objects) % 4
        random = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, height, width), generator=random, dtype=torch.uint8)
        mapped.append({"image": image, "instances": instances})
    return mapped
