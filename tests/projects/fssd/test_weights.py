from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torchvision.models import vgg16

from scb_d2 import build_model
from tests.projects.ssd.builders import build_ssd

from .builders import fssd_config

REDUCED_FC_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33)
"""Of the convolutions of VGG16 in the flat file vgg16_reducedfc.pth."""


@pytest.fixture(scope="module")
def model():
    return build_model(fssd_config("fssd300_voc.yaml"))


def test_vgg16_reducedfc(model, tmp_path: Path) -> None:
    convolutions = list(model.backbone.vgg.children())
    weights = {}
    for index, conv in zip(REDUCED_FC_INDICES, convolutions, strict=True):
        weights[f"{index}.weight"] = torch.randn_like(conv.weight)
        weights[f"{index}.bias"] = torch.randn_like(conv.bias)
    torch.save(weights, tmp_path / "vgg16_reducedfc.pth")
    fusion = model.backbone.fusion.reduce[0].weight.clone()
    DetectionCheckpointer(model).load(str(tmp_path / "vgg16_reducedfc.pth"))
    for index, conv in zip(REDUCED_FC_INDICES, convolutions, strict=True):
        assert torch.equal(conv.weight, weights[f"{index}.weight"])
        assert torch.equal(conv.bias, weights[f"{index}.bias"])
    assert torch.equal(model.backbone.fusion.reduce[0].weight, fusion)


def test_features_of_torchvision(model, tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = vgg16().features.state_dict()
    weights = {f"features.{k}": torch.randn(v.shape) for k, v in shapes.items()}
    torch.save(weights, tmp_path / "vgg16_features.pth")
    DetectionCheckpointer(model).load(str(tmp_path / "vgg16_features.pth"))
    assert torch.equal(model.backbone.vgg.conv1_1.weight, weights["features.0.weight"])
    assert torch.equal(model.backbone.vgg.conv5_3.bias, weights["features.28.bias"])


def test_starts_from_an_ssd300(model, tmp_path: Path) -> None:
    """As the original's VOC script does: trunk and layers up to conv7_2 are taken over."""
    ssd = build_ssd("ssd300_voc.yaml")
    torch.save({"model": ssd.state_dict()}, tmp_path / "ssd300.pth")
    DetectionCheckpointer(model).load(str(tmp_path / "ssd300.pth"))
    assert torch.equal(model.backbone.vgg.fc7.weight, ssd.backbone.vgg.fc7.weight)
    ours, theirs = model.backbone.extras.state_dict(), ssd.backbone.extras.state_dict()
    assert len(ours) == 8 and all(torch.equal(ours[name], theirs[name]) for name in ours)
