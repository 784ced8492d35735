"""Fixtures of the network: maps, anchors, parameters, connections, configs."""

import pytest
import torch
from detectron2.structures import Boxes
from torch import nn

from scb_d2 import build_model
from scb_d2.errors import ConfigError
from scb_d2.modeling.from_config import is_weighted
from scb_d2.projects.refinedet import TransferConnection

from .builders import CONFIGS, refinedet_config, toy_refinedet


def _on_meta(name: str, *opts):
    with torch.device("meta"):
        return build_model(refinedet_config(name, "MODEL.DEVICE", "meta", *opts))


def _maps(name: str, size: int) -> list[torch.Tensor]:
    model = _on_meta(name)
    features = model.backbone(torch.zeros(1, 3, size, size, device="meta"))
    return [features[x] for x in model.head_in_features]


def test_maps_of_320_and_512() -> None:
    shapes = [tuple(x.shape[1:]) for x in _maps("refinedet320_voc.yaml", 320)]
    assert shapes == [(512, 40, 40), (512, 20, 20), (1024, 10, 10), (512, 5, 5)]
    sides = [x.shape[-1] for x in _maps("refinedet512_coco.yaml", 512)]
    assert sides == [64, 32, 16, 8]


def test_anchors() -> None:
    generator = build_model(
        refinedet_config("refinedet320_voc.yaml", "MODEL.SSD.VGG_WIDTH", 0.02)
    ).anchor_generator
    levels = generator([torch.zeros(1, 1, n, n) for n in (40, 20, 10, 5)])
    assert [len(x) for x in levels] == [4800, 1200, 300, 75]
    boxes = Boxes.cat(levels).tensor
    assert len(boxes) == 6375
    assert boxes.double().sum().item() == pytest.approx(4_080_000, abs=1)
    first = [x.tensor[0].tolist() for x in levels]
    for box, (low, high) in zip(first, [(-12, 20), (-24, 40), (-48, 80), (-96, 160)], strict=True):
        assert box == pytest.approx([low, low, high, high], abs=1e-3)
    wide = [-18.6274, -7.3137, 26.6274, 15.3137]
    assert levels[0].tensor[1].tolist() == pytest.approx(wide, abs=1e-3)
    tall = [-7.3137, -18.6274, 15.3137, 26.6274]
    assert levels[0].tensor[2].tolist() == pytest.approx(tall, abs=1e-3)
    wide = [-149.0193, -58.5097, 213.0193, 122.5097]
    assert levels[3].tensor[1].tolist() == pytest.approx(wide, abs=1e-3)
    last = [197.4903, 106.9807, 378.5097, 469.0193]
    assert boxes[-1].tolist() == pytest.approx(last, abs=1e-3)


def _conv(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs + outputs


@pytest.mark.parametrize(
    ("config", "num_outputs", "total"),
    [
        ("refinedet320_voc.yaml", 21, 34_440_884),
        ("refinedet320_coco.yaml", 81, 36_100_484),
        ("refinedet512_coco.yaml", 81, 36_100_484),
    ],
)
def test_parameter_counts(config: str, num_outputs: int, total: int) -> None:
    """Against sums over the layers that the original code lists; 3 anchors per cell."""
    channels = (512, 512, 1024, 512)
    expected = {
        "backbone.vgg": 14_714_688 + 5_769_216,
        "backbone.extras": _conv(1, 1024, 256) + _conv(3, 256, 512),
        "backbone.norms": 512 + 512,
        "head.arm": sum(_conv(3, c, 3 * 4) + _conv(3, c, 3 * 2) for c in channels),
        "head.transfer": sum(_conv(3, c, 256) + 2 * _conv(3, 256, 256) for c in channels)
        + 3 * _conv(2, 256, 256),
        "head.odm": 4 * (_conv(3, 256, 3 * 4) + _conv(3, 256, 3 * num_outputs)),
    }
    model = _on_meta(config)
    found = {
        name: sum(x.numel() for x in model.get_submodule(name).parameters()) for name in expected
    }
    assert found == expected
    assert sum(x.numel() for x in model.parameters()) == sum(expected.values()) == total


def test_vgg_is_not_dilated_and_norms_start_at_10_and_8() -> None:
    cfg = refinedet_config("refinedet320_voc.yaml", "MODEL.SSD.VGG_WIDTH", 0.02)
    backbone = build_model(cfg).backbone
    assert not backbone.vgg.dilated
    assert backbone.vgg.fc6.dilation == backbone.vgg.fc6.padding == (3, 3)
    assert (backbone.norms["conv4_3"].weight == 10).all()
    assert (backbone.norms["conv5_3"].weight == 8).all()


def test_normalised_maps_feed_both_stages() -> None:
    """The head sees what the backbone returns, so ARM and transfer share the L2 norms."""
    model = toy_refinedet("MODEL.REFINEDET.L2_NORM_SCALES", (10.0, 8.0)).eval()
    features = model.backbone(torch.randn(1, 3, 160, 160))
    features = [features[x] for x in model.head_in_features]
    assert features[0].norm(dim=1).max().item() == pytest.approx(10, rel=1e-4)
    assert features[1].norm(dim=1).max().item() == pytest.approx(8, rel=1e-4)
    arm_logits = model.head(features)[0]
    assert torch.equal(arm_logits[0], model.head.arm.cls_score[0](features[0]))


def test_transfer_connection_by_hand() -> None:
    """One channel, every weight 1 and bias 0, 2x2 map of ones: the 3x3 sums grow by 4 each."""
    block = TransferConnection(1, 1, has_coarser=True)
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 1.0 if parameter.dim() > 1 else 0.0)
    x = torch.ones(1, 1, 2, 2)
    # 1 -> 4 -> 16, plus 5 from above -> 21, output 84.
    assert (block(x, torch.full((1, 1, 1, 1), 5.0)) == 84).all()
    # No ReLU before the sum: 16 - 100 < 0 is cut after it.
    assert (block(x, torch.full((1, 1, 1, 1), -100.0)) == 0).all()
    torch.nn.init.constant_(block.lateral2.weight, -1.0)
    assert (block(x, torch.full((1, 1, 1, 1), 20.0)) == 16).all()  # 20 - 16 = 4, not 20 + 0


def test_every_level_of_the_odm_sees_the_coarser_ones() -> None:
    head = toy_refinedet().head
    features = [
        torch.randn(1, layer.lateral1.in_channels, n, n).requires_grad_()
        for layer, n in zip(head.transfer, (20, 10, 5), strict=True)
    ]
    _, _, odm_logits, _ = head(features)
    fine = torch.autograd.grad(odm_logits[0].sum(), features, retain_graph=True)
    assert all(x.abs().sum() > 0 for x in fine)
    coarse = torch.autograd.grad(odm_logits[2].sum(), features, allow_unused=True)
    assert coarse[0] is None and coarse[1] is None and coarse[2].abs().sum() > 0


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda x: x.stem)
def test_every_config_builds_with_its_stages(path) -> None:
    cfg = refinedet_config(path.name, "MODEL.SSD.VGG_WIDTH", 0.02)
    stages = tuple(stage for stage in ("first", "second") if is_weighted(cfg, stage))
    suffix = path.stem.partition("_scb_")[2]
    expected = {"": (), "arm": ("first",), "odm": ("second",), "both": ("first", "second")}[suffix]
    assert stages == expected
    model = build_model(cfg)
    assert (model.object_weight is not None) == ("first" in expected)
    assert (model.odm_object_weight is not None) == ("second" in expected)
    assert model.arm_loss.statistics.prefix == "scb/arm/"
    assert model.multibox_loss.statistics.prefix == "scb/odm/"


def test_the_default_stage_is_the_arm() -> None:
    model = toy_refinedet("MODEL.SCB.ENABLED", True)
    assert model.object_weight is not None and model.odm_object_weight is None


def test_the_configs_asked_for_are_there() -> None:
    names = {
        f"refinedet320_{data}{arm}.yaml"
        for data in ("voc", "coco")
        for arm in ("", "_scb_arm", "_scb_odm", "_scb_both")
    }
    assert names <= {x.name for x in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("MODEL.SSD.IMAGE_SIZE", 168), r"multiple of the last stride; got .*IMAGE_SIZE 168"),
        (("MODEL.REFINEDET.NEGATIVE_THRESH", 1.5), r"NEGATIVE_THRESH must be .* got 1.5"),
        (("MODEL.REFINEDET.L2_NORM_SCALES", (10.0,)), r"conv4_3 and conv5_3; got"),
    ],
)
def test_values_that_cannot_work_are_refused(opts, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        toy_refinedet(*opts)


def test_vgg16_weights_of_caffe_are_taken() -> None:
    """The flat file of the reduced VGG16 fits, although fc6 has another dilation than in SSD."""
    model = build_model(refinedet_config("refinedet320_voc.yaml", "MODEL.SSD.VGG_WIDTH", 0.02))
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33)
    flat = {}
    layers = dict(model.backbone.vgg.named_children())
    for index, layer in zip(indices, layers.values(), strict=True):
        flat[f"{index}.weight"] = torch.randn_like(layer.weight)
        flat[f"{index}.bias"] = torch.randn_like(layer.bias)
    expected = flat["31.weight"].clone(), flat["28.bias"].clone()
    model.load_state_dict(flat, strict=False)
    assert torch.equal(layers["fc6"].weight, expected[0])
    assert torch.equal(layers["conv5_3"].bias, expected[1])


def test_the_trunk_has_the_norm_that_the_config_names() -> None:
    vgg = toy_refinedet("MODEL.SSD.VGG_NORM", "BN").backbone.vgg
    assert all(isinstance(getattr(vgg, name).norm, nn.BatchNorm2d) for name in vgg.channels)
    stock = toy_refinedet().backbone.vgg
    assert all(getattr(stock, name).norm is None for name in stock.channels)
