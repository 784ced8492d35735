import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scb_d2 import build_model
from scb_d2.errors import ConfigError
from scb_d2.projects.fssd import FSSDVGG, FeatureFusion
from scb_d2.projects.ssd import SSDAnchorGenerator
from tests.projects.ssd.builders import ssd_config

from .builders import fssd_config, toy_fssd

MAPS_300 = [(512, 38), (512, 19), (256, 10), (256, 5), (256, 3), (256, 1)]
MAPS_512 = [(512, 64), (512, 32), (256, 16), (256, 8), (256, 4), (256, 2), (256, 1)]


@pytest.mark.parametrize(
    ("config", "parameters", "maps", "anchors"),
    [
        ("fssd300_voc.yaml", 33_836_718, MAPS_300, 8732),
        ("fssd300_coco.yaml", 39_368_118, MAPS_300, 8732),
        ("fssd512_voc.yaml", None, MAPS_512, 24564),
        ("fssd512_coco.yaml", None, MAPS_512, 24564),
    ],
)
def test_parameters_maps_and_anchors(
    config: str, parameters: int | None, maps: list[tuple[int, int]], anchors: int
) -> None:
    cfg = fssd_config(config, device="meta")
    with torch.device("meta"):
        model = build_model(cfg)
        size = cfg.MODEL.SSD.IMAGE_SIZE
        features = model.backbone(torch.zeros(1, 3, size, size))
        features = [features[name] for name in model.head_in_features]
        boxes = model.anchor_generator(features)
    assert [(x.shape[1], x.shape[2]) for x in features] == maps
    assert all(x.shape[2] == x.shape[3] for x in features)
    assert sum(len(x) for x in boxes) == anchors
    if parameters is not None:
        assert sum(x.numel() for x in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["300_voc", "300_coco", "512_voc", "512_coco"])
def test_anchors_are_those_of_ssd(name: str) -> None:
    maps = [torch.zeros(1, 1, n, n) for _, n in (MAPS_300 if "300" in name else MAPS_512)]
    ours = SSDAnchorGenerator(fssd_config(f"fssd{name}.yaml"), maps)(maps)
    theirs = SSDAnchorGenerator(ssd_config(f"ssd{name}.yaml"), maps)(maps)
    assert all(torch.equal(a.tensor, b.tensor) for a, b in zip(ours, theirs, strict=True))
    if name == "300_voc":
        assert ours[0].tensor[0].tolist() == [-11, -11, 19, 19]
        assert ours[-1].tensor[-1].tolist() == pytest.approx(
            [56.6619, -36.6762, 243.3381, 336.6762], abs=1e-3
        )


def test_fused_maps_have_half_the_resolution_each() -> None:
    """conv6_2 has stride 1, so that the maps are 38, 19 and 10; conv7_2 needs no reduction."""
    with torch.device("meta"):
        backbone = build_model(fssd_config("fssd300_voc.yaml", device="meta")).backbone
        sources = super(FSSDVGG, backbone).forward(torch.zeros(1, 3, 300, 300))
    assert [tuple(x.shape[1:]) for x in sources.values()] == [
        (512, 38, 38),
        (1024, 19, 19),
        (256, 10, 10),
    ]
    assert not backbone.norms
    kinds = [type(layer) for layer in backbone.fusion.reduce]
    assert kinds[2] is nn.Identity and nn.Identity not in kinds[:2]
    assert backbone.fusion.norm.weight.shape == (768,)


@pytest.mark.parametrize("align_corners", [True, False])
def test_fusion(align_corners: bool) -> None:
    fusion = FeatureFusion([6, 4], 4, norm="", align_corners=align_corners)
    fine, coarse = torch.randn(2, 6, 9, 7), torch.randn(2, 4, 3, 4)
    fused = fusion([fine, coarse])
    assert fused.shape == (2, 8, 9, 7) and fusion.out_channels == 8
    reduced = F.relu(F.conv2d(fine, fusion.reduce[0].weight, fusion.reduce[0].bias))
    assert torch.allclose(fused[:, :4], reduced)
    # Row 1 of 9 lies at row 1 x 2 / 8 of 3, or at row 1.5 / 3 - 0.5.
    column = fused[:, 4:, :, 0]
    position = 0.25 if align_corners else 0.0
    expected = coarse[:, :, 0, 0] * (1 - position) + coarse[:, :, 1, 0] * position
    assert torch.allclose(column[:, :, 1], expected, atol=1e-6)
    assert torch.allclose(column[:, :, 0], coarse[:, :, 0, 0])


@pytest.mark.parametrize("size", [(160, 160), (137, 201), (133, 300)])
def test_maps_at_odd_sizes(size: tuple[int, int]) -> None:
    backbone = toy_fssd().backbone.eval()
    # Three times halved and rounded up, then halved by convolutions of padding 1.
    height, width = (-(-n // 8) for n in size)
    with torch.no_grad():
        maps = backbone(torch.zeros(2, 3, *size))
    for name in ("p0", "p1", "p2", "p3"):
        assert maps[name].shape[-2:] == (height, width)
        height, width = (height + 1) // 2, (width + 1) // 2


def test_maps_must_be_of_the_pyramid() -> None:
    with pytest.raises(ConfigError, match=r"IN_FEATURES must name.*p0, p1.*got conv4_3"):
        toy_fssd("MODEL.SSD.IN_FEATURES", ("conv4_3", "p1", "p2", "p3", "p4"))


def test_image_must_be_large_enough() -> None:
    with pytest.raises(ConfigError, match=r"IMAGE_SIZE 120 is too small.*p4 has kernel 3.* 2 x 2"):
        toy_fssd("MODEL.SSD.IMAGE_SIZE", 120)


def test_keys_reach_the_network() -> None:
    backbone = toy_fssd(
        "MODEL.FSSD.FUSION_NORM", "",
        "MODEL.FSSD.ALIGN_CORNERS", False,
        "MODEL.FSSD.FUSION_CHANNELS", 128,
        "MODEL.BACKBONE.FREEZE_AT", 1,
    ).backbone  # fmt: skip
    assert isinstance(backbone.fusion.norm, nn.Identity) and not backbone.fusion.align_corners
    assert backbone.fusion.out_channels == 3 * 16
    frozen = {name for name, x in backbone.named_parameters() if not x.requires_grad}
    assert frozen and all(name.startswith("vgg.conv1_") for name in frozen)
