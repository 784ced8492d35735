"""Detectron2's ImageNet ResNet-101 in its two layouts."""

import pickle
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer

from scb_d2 import build_model
from scb_d2.errors import DataError

from .builders import dssd_config, toy_dssd


@pytest.fixture(scope="module")
def model():
    return build_model(
        dssd_config("ssd321_voc.yaml", "MODEL.DSSD.WIDTH", 0.02, "MODEL.SSD.NUM_CLASSES", 2)
    )


def _caffe2_name(name: str) -> str:
    """A weight of Detectron2's ResNet under its name in MSRA/R-101.pkl."""
    norm = ".norm." in name
    kind = ("bn_s" if name.endswith("weight") else "bn_b") if norm else "w"
    parts = name.split(".")
    if parts[0] == "stem":
        return f"res_conv1_{kind}" if norm else "conv1_w"
    branch = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    layer = branch.get(parts[2], "branch1")
    return f"{parts[0]}_{parts[1]}_{layer}_{kind}"


@pytest.mark.parametrize("layout", ["caffe2", "detectron2"])
def test_imagenet_r101(layout: str, model, tmp_path: Path) -> None:
    trunk = model.backbone.trunk
    weights = {
        name: torch.randn_like(value)
        for name, value in trunk.state_dict().items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    arrays = {k: v.numpy() for k, v in weights.items()}
    if layout == "caffe2":
        content = {"blobs": {_caffe2_name(k): v for k, v in arrays.items()}}
        content["blobs"]["fc1000_w"] = torch.randn(1000, 2048).numpy()
    else:
        arrays["fc.weight"] = torch.randn(1000, 2048).numpy()
        content = {"model": arrays, "__author__": "MSRA", "matching_heuristics": True}
    path = tmp_path / "R-101.pkl"
    path.write_bytes(pickle.dumps(content))
    others = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if not name.startswith("backbone.trunk.")
    }
    DetectionCheckpointer(model).load(str(path))
    loaded = trunk.state_dict()
    assert len(weights) > 300
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in others.items())


def test_weights_of_vgg_are_refused() -> None:
    weights = {f"{i}.weight": torch.zeros(1) for i in (0, 31)}
    with pytest.raises(DataError):
        toy_dssd().load_state_dict(weights, strict=False)
