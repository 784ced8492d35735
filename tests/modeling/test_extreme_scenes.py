"""Extreme scenes in every detector, in single and in mixed precision: all stays finite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from scb_d2 import build_model
from scb_d2.engine.config.load import load_config
from scb_d2.engine.main import main
from tests.faults.runs import REPO_ROOT, tiny_config
from tests.modeling.detectors import fcos, image, retinanet_config, train_step
from tests.modeling.rcnn import CASCADE, RES5, STANDARD, rcnn_config

BOTH = ("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", ("first", "second"))
LOOSE = (1e-9, 1e-9)

Build = Callable[[bool], nn.Module]


def _retinanet(many: bool) -> nn.Module:
    thresholds = ["MODEL.RETINANET.IOU_THRESHOLDS", list(LOOSE)] if many else []
    return build_model(retinanet_config("MODEL.RESNETS.NORM", "BN", *thresholds))


def _rcnn(kind: str) -> Build:
    def build(many: bool) -> nn.Module:
        opts = list(BOTH)
        if many:
            opts += ["MODEL.RPN.IOU_THRESHOLDS", list(LOOSE)]
            opts += ["MODEL.ROI_HEADS.IOU_THRESHOLDS", [LOOSE[0]]]
            opts += ["MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (LOOSE[0], 0.6, 0.7)]
        return build_model(rcnn_config(kind, *opts))

    return build


def _ssd(path: str, *opts: object) -> Build:
    def build(many: bool) -> nn.Module:
        common = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.SCB.ENABLED", True]
        model = build_model(load_config(str(REPO_ROOT / "projects" / path), [*common, *opts]))
        if many:
            model.anchor_matcher.thresholds[1] = LOOSE[0]
        return model

    return build


DETECTORS: dict[str, Build] = {
    "RetinaNet": _retinanet,
    "RetinaNet with ATSS": lambda _: build_model(
        retinanet_config("MODEL.RESNETS.NORM", "BN", "MODEL.ANCHOR_MATCHER.NAME", "atss")
    ),
    "FCOS": lambda many: fcos(True, "BN", center_sampling_radius=1e9 if many else 1.5),
    "Faster R-CNN": _rcnn(STANDARD),
    "Faster R-CNN C4": _rcnn(RES5),
    "Cascade R-CNN": _rcnn(CASCADE),
    "SSD": _ssd("SSD/configs/ssd_toy.yaml"),
    "FSSD": _ssd("FSSD/configs/fssd_toy.yaml"),
    "DSSD": _ssd("DSSD/configs/dssd_toy.yaml"),
    "RefineDet": _ssd("RefineDet/configs/refinedet_toy.yaml", *BOTH[2:]),
}


def _crowd(size: int) -> dict:
    corners = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * (size - 16)
    boxes = torch.cat([corners, corners + 3 + corners.flip(1) / 16], dim=1).tolist()
    return image(boxes, [i % 4 for i in range(2000)], size)


def _tiny(size: int) -> dict:
    places = range(5, size - 5, 5)
    return image([[x, x, x + 0.01, x + 0.01] for x in places], [x % 4 for x in places], size)


SCENES: dict[str, Callable[[int], list[dict]]] = {
    "very many matches": lambda size: [image([[0, 0, size, size]] * 2, None, size)] * 2,
    "no objects": lambda size: [image([], None, size)] * 2,
    "no overlap": lambda size: [image([[x, x, x + 9, x + 9]], [1], size) for x in (5000, 9000)],
    "all tiny": lambda size: [_tiny(size)] * 2,
    "two thousand": lambda size: [_crowd(size), image([], None, size)],
}


def _assert_finite(model: nn.Module, *scenes: str) -> None:
    """One training step on a scene, or on the first image of each of several."""
    # At 64 px the FPN's last convolution sees a map of 1 x 1, for which torch 2.14 gives bfloat16
    # gradients of uninitialised memory on CPUs.
    size = getattr(model, "image_size", 96)
    data = [SCENES[scene](size) for scene in scenes]
    data = data[0] if len(data) == 1 else [images[0] for images in data]
    losses, gradients, _ = train_step(model, data)
    assert losses
    for name, value in losses.items():
        assert torch.isfinite(value), (name, value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", DETECTORS)
def test_single_precision(name: str, scene: str) -> None:
    _assert_finite(DETECTORS[name](scene == "very many matches"), scene)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DETECTORS)
def test_cpu_autocast(name: str, dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=dtype):
        _assert_finite(DETECTORS[name](True), "very many matches", "all tiny")


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DETECTORS)
def test_cuda_autocast(name: str, dtype: torch.dtype) -> None:
    model = DETECTORS[name](True).to("cuda")
    for scene in SCENES:
        with torch.autocast("cuda", dtype=dtype):
            _assert_finite(model, scene)


@needs_gpu
def test_training_in_mixed_precision(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "amp", SOLVER__AMP={"ENABLED": True}, MODEL__DEVICE="cuda")
    assert main(["--config-file", str(config)]) == 0
    lines = map(json.loads, (tmp_path / "amp" / "metrics.json").read_text().splitlines())
    losses = [line["total_loss"] for line in lines if "total_loss" in line]
    assert losses
    assert torch.isfinite(torch.tensor(losses)).all()
