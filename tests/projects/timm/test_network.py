"""What becomes of timm's networks, and which are refused."""

import pytest
import timm
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from scb_d2 import ConfigError
from scb_d2.projects.timm_backbone import TimmBackbone
from scb_d2.projects.timm_backbone.network import map_strides

LITE = "tf_efficientnet_lite0"


def images(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randn(2, 3, height, width)


def test_maps_of_efficientnet_lite() -> None:
    backbone = TimmBackbone(name=LITE, out_features=("c2", "c3", "c5")).eval()
    assert backbone.output_shape() == {
        "c2": ShapeSpec(channels=24, stride=4),
        "c3": ShapeSpec(channels=40, stride=8),
        "c5": ShapeSpec(channels=320, stride=32),
    }
    assert backbone.size_divisibility == 32
    with torch.no_grad():
        maps = backbone(images())
    assert {name: tuple(x.shape) for name, x in maps.items()} == {
        "c2": (2, 24, 16, 24),
        "c3": (2, 40, 8, 12),
        "c5": (2, 320, 2, 3),
    }
    assert all(x.is_contiguous() for x in maps.values())


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "mobilenetv3_small_050"])
def test_maps_are_timms_own(name: str) -> None:
    names = list(map_strides(name))[-2:]
    backbone = TimmBackbone(name=name, out_features=names).eval()
    stock = timm.create_model(name, features_only=True).eval()
    weights = backbone.net.state_dict()
    assert set(weights) <= set(stock.state_dict())
    stock.load_state_dict(weights, strict=False)
    batch = images()
    with torch.no_grad():
        maps, expected = backbone(batch), stock(batch)[-2:]
    for name, reference in zip(names, expected, strict=True):
        shape = backbone.output_shape()[name]
        assert shape.channels == reference.shape[1] and shape.stride == 64 // reference.shape[2]
        # Another memory layout adds up in another order.
        torch.testing.assert_close(maps[name], reference, rtol=1e-4, atol=1e-4)


def test_strides_name_the_maps() -> None:
    assert map_strides(LITE) == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32}
    assert list(map_strides("convnext_atto")) == ["c2", "c3", "c4", "c5"]
    assert list(map_strides("vgg11_bn")) == ["c0", "c1", "c2", "c3", "c4", "c5"]


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",  # one stride
        "swin_tiny_patch4_window7_224",  # one size of image
        "mambaout_femto",  # channels last
        "inception_v3",  # maps that are smaller than their stride says
    ],
)
def test_networks_without_a_pyramid_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*makes no pyramid of feature maps") as error:
        TimmBackbone(name=name)
    assert "\n" not in str(error.value)


def test_unknown_network_names_similar_ones() -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.TIMM\.NAME: 'tf_eficientnet_lite0'.*lite0"):
        TimmBackbone(name="tf_eficientnet_lite0")
    with pytest.raises(ConfigError, match=r"timm\.list_models"):
        TimmBackbone(name="?")


@pytest.mark.parametrize("maps", [("c6",), ("res3",), ("c4", "c3"), ()])
def test_unknown_maps_are_refused(maps: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"OUT_FEATURES must name maps.*c1, c2, c3, c4, c5; got"):
        TimmBackbone(name=LITE, out_features=maps)


# ---------------------------------------------------------------- frozen parts


def frozen(backbone: TimmBackbone) -> set[str]:
    return {name for name, x in backbone.net.named_parameters() if not x.requires_grad}


def statistics(backbone: TimmBackbone) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in backbone.net.named_buffers() if k.endswith("running_mean")}


def test_freeze_at_is_all_that_a_map_is_made_of() -> None:
    backbone = TimmBackbone(name=LITE, out_features=("c3", "c5"), freeze_at=2).train()
    parts = {name.rpartition(".")[0] for name in frozen(backbone)}
    early = {name for name in parts if not name.startswith(("conv_stem", "bn1", "blocks.0."))}
    assert parts > early and all(name.startswith("blocks.1.") for name in early)
    rest = [name for name, _ in backbone.net.named_parameters() if name not in frozen(backbone)]
    assert rest and all(int(name.split(".")[1]) >= 2 for name in rest)

    before = statistics(backbone)
    backbone(images())
    changed = {k for k, v in statistics(backbone).items() if not torch.equal(v, before[k])}
    assert changed == {k for k in before if k[:8] in {f"blocks.{i}" for i in range(2, 7)}}


def test_nothing_is_frozen_by_default() -> None:
    backbone = TimmBackbone(name=LITE).train()
    assert not frozen(backbone)
    before = statistics(backbone)
    backbone(images())
    after = statistics(backbone)
    assert all(not torch.equal(after[k], before[k]) for k in before)


def test_what_no_map_needs_is_not_trained() -> None:
    with torch.no_grad():
        backbone = TimmBackbone(name=LITE, out_features=("c2", "c3")).train()
    sum(x.sum() for x in backbone(images()).values()).backward()
    unused = {name for name, x in backbone.net.named_parameters() if x.grad is None}
    assert unused == frozen(backbone)
    assert {name.split(".")[1] for name in unused} == {"3", "4", "5", "6"}


def test_frozen_batch_norm_keeps_factors_statistics_and_activations() -> None:
    trained = TimmBackbone(name=LITE, norm="BN").eval()
    backbone = TimmBackbone(name=LITE, norm="FrozenBN").train()
    backbone.load_state_dict(trained.state_dict())  # the same names
    norms = {k for k, m in backbone.net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {name.rpartition(".")[0] for name in frozen(backbone)} == norms
    before = statistics(backbone)
    batch = images()
    maps, expected = backbone(batch), trained(batch)
    assert all(torch.equal(maps[k], expected[k]) for k in expected)
    after = statistics(backbone)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_sync_batch_norm_keeps_activations() -> None:
    backbone = TimmBackbone(name=LITE, norm="SyncBN").eval()
    assert any(isinstance(m, nn.SyncBatchNorm) for m in backbone.modules())
    expected = TimmBackbone(name=LITE).eval()
    expected.load_state_dict(backbone.state_dict())
    batch = images()
    with torch.no_grad():
        assert all(torch.equal(x, expected(batch)[k]) for k, x in backbone(batch).items())


def test_what_cannot_be_frozen_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.TIMM\.NORM must be one of BN, FrozenBN, SyncBN"):
        TimmBackbone(name=LITE, norm="GN")
    with pytest.raises(ConfigError, match=r"FREEZE_AT must be one of 0, 2, 3, 4, 5.*got 1"):
        TimmBackbone(name="convnext_atto", freeze_at=1)
