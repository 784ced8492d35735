import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn
from torch.nn import functional as F

from scb_d2 import build_model
from scb_d2.errors import ConfigError
from scb_d2.projects.dssd import DeconvolutionModule, DSSDHead, ResidualBlock

from .builders import dssd_config, toy_dssd

SIZES = {321: [40, 20, 10, 5, 3, 1], 513: [64, 32, 16, 8, 4, 2, 1]}
NO_INTER = ("MODEL.DSSD.INTER_CHANNELS", ())
ALL_3X3 = ("MODEL.DSSD.PREDICTOR_KERNELS", (3,) * 6)


def _on_meta(config: str, *opts) -> tuple[nn.Module, list[torch.Tensor]]:
    """The whole detector with the trunk's batch norms counted, and its maps."""
    cfg = dssd_config(
        config, "MODEL.RESNETS.NORM", "BN", "MODEL.DSSD.FREEZE", "none", *opts, device="meta"
    )
    with torch.device("meta"):
        model = build_model(cfg)
        features = model.backbone(torch.zeros(2, 3, model.image_size, model.image_size))
    return model, [features[name] for name in model.head_in_features]


def _count(module: nn.Module) -> int:
    return sum(x.numel() for x in module.parameters())


@pytest.mark.parametrize(
    ("config", "opts", "parameters"),
    [
        ("dssd321_voc.yaml", (), 172_380_912),
        ("dssd321_coco.yaml", (), 214_654_512),
        ("dssd321_voc.yaml", ALL_3X3, 165_827_312),
        ("dssd321_coco.yaml", ALL_3X3, 192_372_272),
        ("dssd513_voc.yaml", (), 231_633_336),
        ("dssd513_coco.yaml", (), 254_983_896),
        ("dssd513_voc.yaml", NO_INTER, 175_286_712),
        ("dssd513_coco.yaml", NO_INTER, 221_984_472),
    ],
)
def test_parameters_and_maps(config: str, opts: tuple, parameters: int) -> None:
    model, features = _on_meta(config, *opts)
    assert _count(model) == parameters
    sizes = SIZES[model.image_size]
    assert [tuple(x.shape[1:]) for x in features] == [
        *((512, n, n) for n in sizes[:-1]),
        (1024, 1, 1),
    ]
    parts = (42_749_952, 59_786_752) if model.image_size == 321 else (35_742_720, 66_343_936)
    assert _count(model.backbone.trunk) == 42_500_160
    assert (_count(model.backbone.extras), _count(model.backbone.decoder)) == parts
    num_anchors = {321: 17080, 513: 43688}[model.image_size]
    assert sum(8 * x.shape[2] * x.shape[3] for x in features) == num_anchors


@pytest.mark.parametrize("size", [321, 513])
def test_stage_0_predicts_from_the_encoder(size: int) -> None:
    model, features = _on_meta(f"ssd{size}_voc.yaml")
    assert len(model.backbone.decoder) == 0
    channels = [512, 2048, *[1024] * (len(SIZES[size]) - 2)]
    assert [(x.shape[1], x.shape[2]) for x in features] == list(
        zip(channels, SIZES[size], strict=True)
    )
    if size == 513:
        inter = [x.out_channels for x in model.head.cls_inter]
        assert inter == [128, 512, 256, 256, 256, 256, 256]
    else:
        assert all(isinstance(x, nn.Identity) for x in model.head.cls_inter)


@pytest.mark.parametrize(("size", "conv1", "pooled"), [(321, 161, 80), (513, 257, 128)])
def test_stem_pools_as_caffe(size: int, conv1: int, pooled: int) -> None:
    model, _ = _on_meta(f"ssd{size}_voc.yaml")
    stem = model.backbone.trunk.stem
    with torch.device("meta"):
        x = torch.zeros(1, 3, size, size)
        assert stem.conv1(x).shape[-1] == conv1
        assert stem(x).shape[-1] == pooled


def test_trunk_strides_and_dilation() -> None:
    trunk = _on_meta("ssd321_voc.yaml")[0].backbone.trunk
    assert [len(stage) for stage in trunk.stages] == [3, 4, 23, 3]
    assert trunk.res3[0].conv1.stride == (2, 2) and trunk.res3[0].conv2.stride == (1, 1)
    assert all(block.conv2.dilation == (2, 2) for block in trunk.res5)
    assert all(block.stride == 1 for block in trunk.res5)


def test_heads() -> None:
    head = _on_meta("dssd321_voc.yaml")[0].head
    assert [x.kernel_size[0] for x in head.cls_score] == [5, 5, 3, 3, 3, 3]
    assert [x.out_channels for x in head.cls_score] == [8 * 21] * 6
    assert [x.out_channels for x in head.bbox_pred] == [32] * 6
    assert all(x.conv2.kernel_size == (3, 3) for x in head.prediction)
    head = _on_meta("dssd513_coco.yaml")[0].head
    assert [x.out_channels for x in (*head.cls_inter, *head.bbox_inter)] == [512] * 14


def test_inter_layers_are_not_shared() -> None:
    head = DSSDHead(
        input_shape=[ShapeSpec(channels=8)],
        num_anchors=[2],
        num_classes=3,
        kernel_sizes=[5],
        prediction_channels=16,
        inter_channels=[24],
    ).eval()
    x = torch.randn(1, 8, 5, 7)
    (logits,), (deltas,) = head([x])
    assert logits.shape == (1, 8, 5, 7) and deltas.shape == (1, 8, 5, 7)
    shared = head.prediction[0](x)
    assert torch.equal(logits, head.cls_score[0](head.cls_inter[0](shared)))
    assert torch.equal(deltas, head.bbox_pred[0](head.bbox_inter[0](shared)))


def test_prediction_module_is_a_residual_of_two_projections() -> None:
    block = ResidualBlock(6, 8, 4, norm="")
    x = torch.randn(2, 6, 5, 4)
    main = F.relu(F.conv2d(x, block.conv1.weight, block.conv1.bias))
    main = F.relu(F.conv2d(main, block.conv2.weight, block.conv2.bias, padding=1))
    main = F.conv2d(main, block.conv3.weight, block.conv3.bias)
    expected = F.relu(main + F.conv2d(x, block.shortcut.weight, block.shortcut.bias))
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_deconvolution_multiplies() -> None:
    module = DeconvolutionModule(5, 3, 4, norm="")
    coarser, lateral = torch.randn(2, 5, 2, 3), torch.randn(2, 3, 4, 6)
    up = module.upsample
    deep = module.deep(F.conv_transpose2d(coarser, up.weight, up.bias, stride=2))
    side = module.lateral2(module.lateral1(lateral))
    assert torch.allclose(module(coarser, lateral), F.relu(deep * side), atol=1e-6)
    assert (module.lateral1(lateral) >= 0).all() and (side < 0).any() and (deep < 0).any()


@pytest.mark.parametrize("lateral", [(4, 6), (5, 7), (3, 5)])
def test_deconvolution_fits_neighbouring_sizes(lateral: tuple[int, int]) -> None:
    module = DeconvolutionModule(5, 3, 4, norm="")
    assert module(torch.randn(1, 5, 2, 3), torch.randn(1, 3, *lateral)).shape == (1, 4, *lateral)


@pytest.mark.parametrize("size", [(161, 161), (160, 200), (171, 203)])
def test_maps_at_odd_sizes(size: tuple[int, int]) -> None:
    backbone = toy_dssd().backbone.eval()
    with torch.no_grad():
        maps, encoder = (f(torch.randn(1, 3, *size)) for f in (backbone, backbone.trunk))
    assert maps["d3"].shape[-2:] == encoder["res3"].shape[-2:]
    assert maps["d5"].shape[-2:] == encoder["res5"].shape[-2:]
    assert all(x.isfinite().all() for x in maps.values())


def test_errors_name_the_key() -> None:
    with pytest.raises(ConfigError, match=r"IMAGE_SIZE 97 is too small.*res8 has kernel 3"):
        toy_dssd("MODEL.SSD.IMAGE_SIZE", 97)
    with pytest.raises(ConfigError, match=r"MODEL\.RESNETS\.OUT_FEATURES.*got \['res4'\]"):
        toy_dssd("MODEL.RESNETS.OUT_FEATURES", ["res4"])
    with pytest.raises(ConfigError, match=r"IN_FEATURES must name maps of res3.*got d4,"):
        toy_dssd("MODEL.SSD.IN_FEATURES", ["d4", "d5", "d6", "d7", "res8"])
    with pytest.raises(ConfigError, match=r"PREDICTOR_KERNELS has 1 entries.* 5 feature maps"):
        toy_dssd("MODEL.DSSD.PREDICTOR_KERNELS", (3,))
    with pytest.raises(ConfigError, match=r"MODEL\.DSSD\.FREEZE must be one of none, encoder"):
        toy_dssd("MODEL.DSSD.FREEZE", "trunk")
