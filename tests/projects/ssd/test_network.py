import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from scb_d2 import build_model
from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import SSDVGG, L2Norm, MultiBoxHead

from .builders import ssd_config


@pytest.mark.parametrize(
    ("config", "classes", "parameters"),
    [
        ("ssd300_voc.yaml", 20, 26_285_486),
        ("ssd300_coco.yaml", 80, 34_305_206),
        ("ssd300_coco.yaml", 90, 35_641_826),
    ],
)
def test_parameter_counts(config: str, classes: int, parameters: int) -> None:
    cfg = ssd_config(config, "MODEL.SSD.NUM_CLASSES", classes)
    with torch.device("meta"):
        cfg.defrost()
        cfg.MODEL.DEVICE = "meta"
        model = build_model(cfg)
    assert sum(x.numel() for x in model.parameters()) == parameters
    if config == "ssd300_voc.yaml":
        assert sum(x.numel() for x in model.backbone.extras.parameters()) == 2_459_520
        fc = sum(x.numel() for x in (*model.backbone.vgg.fc6.parameters(),))
        fc += sum(x.numel() for x in model.backbone.vgg.fc7.parameters())
        assert fc == 5_769_216
        assert sum(x.numel() for x in model.backbone.vgg.parameters()) == 14_714_688 + fc


def test_extra_layers_of_ssd512() -> None:
    with torch.device("meta"):
        cfg = ssd_config("ssd512_voc.yaml")
        backbone = SSDVGG(
            extra_layers=cfg.MODEL.SSD.EXTRA_LAYERS, out_features=cfg.MODEL.SSD.IN_FEATURES
        )
        assert sum(x.numel() for x in backbone.extras.parameters()) == 3_016_960
        features = backbone(torch.zeros(1, 3, 512, 512))
    assert [tuple(x.shape[1:]) for x in features.values()] == [
        (512, 64, 64), (1024, 32, 32), (512, 16, 16), (256, 8, 8), (256, 4, 4), (256, 2, 2),
        (256, 1, 1),
    ]  # fmt: skip
    assert [x.stride for x in backbone.output_shape().values()] == [8, 16, 32, 64, 128, 256, 256]


def test_feature_maps_of_ssd300_and_refinedet() -> None:
    with torch.device("meta"):
        ssd300 = SSDVGG(
            extra_layers=ssd_config("ssd300_voc.yaml").MODEL.SSD.EXTRA_LAYERS,
            out_features=["conv4_3", "conv5_3", "fc7", "conv6_2", "conv9_2"],
        )(torch.zeros(1, 3, 300, 300))
        refinedet = SSDVGG(
            extra_layers=[(256, 512, 3, 2, 1)],
            out_features=["conv4_3", "conv5_3", "fc7", "conv6_2"],
            l2_norm_scales={"conv4_3": 10, "conv5_3": 8},
            dilated=False,
        )
        maps = refinedet(torch.zeros(1, 3, 320, 320))
    assert [x.shape[-1] for x in ssd300.values()] == [38, 19, 19, 10, 1]
    assert [x.shape[-1] for x in maps.values()] == [40, 20, 10, 5]
    assert [x.stride for x in refinedet.output_shape().values()] == [8, 16, 32, 64]


def test_l2_norm_scales_each_pixel() -> None:
    norm = L2Norm(3, 20.0)
    x = torch.tensor([[3.0, 0.0], [0.0, 0.0], [4.0, 0.0]]).view(1, 3, 1, 2).requires_grad_()
    y = norm(x)
    assert y[0, :, 0, 0].tolist() == pytest.approx([12.0, 0.0, 16.0], abs=1e-5)
    assert (y[0, :, 0, 1] == 0).all()
    y.sum().backward()
    assert x.grad.isfinite().all() and norm.weight.grad.isfinite().all()


def test_only_the_returned_map_is_normalised() -> None:
    """conv6_2 is the same with and without the norm on conv4_3."""
    torch.manual_seed(0)
    kwargs = {
        "extra_layers": [(8, 8, 3, 2, 1)],
        "out_features": ["conv4_3", "conv6_2"],
        "width": 0.02,
    }
    with_norm = SSDVGG(l2_norm_scales={"conv4_3": 20}, **kwargs)
    without = SSDVGG(**kwargs)
    without.load_state_dict(with_norm.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    a, b = with_norm(x), without(x)
    assert torch.equal(a["conv6_2"], b["conv6_2"])
    assert torch.allclose(a["conv4_3"].norm(dim=1).max(), torch.tensor(20.0))
    assert not torch.allclose(a["conv4_3"], b["conv4_3"])


def test_freeze_at() -> None:
    cfg = ssd_config("ssd_toy.yaml", "MODEL.BACKBONE.FREEZE_AT", 2, "MODEL.SSD.VGG_WIDTH", 0.02)
    vgg = build_model(cfg).backbone.vgg
    frozen = {name.split(".")[0] for name, x in vgg.named_parameters() if not x.requires_grad}
    assert frozen == {"conv1_1", "conv1_2", "conv2_1", "conv2_2"}


def test_head_takes_a_kernel_size_per_level() -> None:
    head = MultiBoxHead(
        input_shape=[ShapeSpec(channels=8), ShapeSpec(channels=16)],
        num_anchors=[4, 6],
        num_classes=3,
        kernel_sizes=[5, 3],
    )
    logits, deltas = head([torch.zeros(2, 8, 5, 7), torch.zeros(2, 16, 2, 2)])
    assert [tuple(x.shape) for x in logits] == [(2, 16, 5, 7), (2, 24, 2, 2)]
    assert [tuple(x.shape) for x in deltas] == [(2, 16, 5, 7), (2, 24, 2, 2)]
    assert all((conv.bias == 0).all() for conv in head.modules() if isinstance(conv, nn.Conv2d))


def test_unknown_feature_map_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no feature map 'conv7_2', .*; there are .*conv6_2"):
        SSDVGG(extra_layers=[(8, 8, 3, 2, 1)], out_features=["conv4_3", "conv7_2"], width=0.02)


def test_the_norm_stands_after_every_convolution_of_the_trunk() -> None:
    vgg = SSDVGG(extra_layers=[], out_features=["fc7"], width=0.125, norm="BN").vgg
    norms = {name: getattr(vgg, name).norm for name in vgg.channels}
    assert len(norms) == 15
    assert all(isinstance(norm, nn.BatchNorm2d) for norm in norms.values())
    assert all(getattr(vgg, name).bias is None for name in vgg.channels)
