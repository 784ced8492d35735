"""DSSD's feature maps: ResNet, residual blocks that shrink its map, deconvolution modules."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, ResNet
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import scaled_channels

from .deconvolution import DeconvolutionModule
from .layers import CeilStem, ResidualBlock

__all__ = ["DSSDResNet", "build_dssd_resnet_backbone"]

_EXTRA_CHANNELS, _DECONV_CHANNELS = 1024, 512


class DSSDResNet(Backbone):
    """ResNet and residual blocks, the encoder, and optionally the decoder on them.

    Attributes:
        trunk: the ResNet, which returns "res3" and "res5".
        extras: the residual blocks "res6", "res7", ...
        decoder: the deconvolution modules "d3", "d5", "d6", ...; "d<n>" refines "res<n>".
    """

    def __init__(
        self,
        *,
        trunk: ResNet,
        extra_blocks: Sequence[Sequence[int]],
        out_features: Sequence[str],
        width: float = 1.0,
        norm: str = "BN",
    ):
        """Build the backbone.

        Args:
            trunk: a ResNet whose outputs are "res3" and "res5".
            extra_blocks: kernel and stride of each residual block; there is no padding.
            out_features: names of the maps to return: "res3", "res5", "res6", ... of the encoder
                and "d3", "d5", "d6", ... of the decoder, which is there only if one is named.
            width: factor on the channels after the trunk.
            norm: normalisation after the trunk.
        """
        super().__init__()
        self.trunk = trunk
        shapes = dict(trunk.output_shape())
        channels = scaled_channels(_EXTRA_CHANNELS, width)
        # How each map follows from the one before: a deconvolution goes the same way back. Between
        # res3 and res5 lies one convolution of stride 2.
        steps = {"res5": (2, 2)}
        self.extras = nn.ModuleDict()
        previous = shapes["res5"]
        for number, (kernel, stride) in enumerate(extra_blocks, start=6):
            name = f"res{number}"
            self.extras[name] = ResidualBlock(
                previous.channels,
                channels,
                channels // 4,
                kernel_size=kernel,
                stride=stride,
                norm=norm,
            )
            previous = ShapeSpec(channels=channels, stride=previous.stride * stride)
            shapes[name], steps[name] = previous, (kernel, stride)

        self.decoder = nn.ModuleDict()
        channels = scaled_channels(_DECONV_CHANNELS, width)
        decodes = any(name.startswith("d") for name in out_features)
        levels = list(shapes) if decodes else []
        coarser = previous.channels
        for lateral, deeper in zip(levels[-2::-1], levels[:0:-1], strict=True):
            kernel, stride = steps[deeper]
            name = lateral.replace("res", "d")
            self.decoder[name] = DeconvolutionModule(
                coarser,
                shapes[lateral].channels,
                channels,
                kernel_size=kernel,
                stride=stride,
                norm=norm,
            )
            shapes[name] = ShapeSpec(channels=channels, stride=shapes[lateral].stride)
            coarser = channels
        unknown = set(out_features) - set(shapes)
        assert not unknown, f"no feature map {unknown} among {list(shapes)}"
        self._out_shapes = {name: shapes[name] for name in out_features}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            x: (N, C, H, W) normalised images.

        Returns:
            The maps named ``out_features``.
        """
        maps = self.trunk(x)
        x = maps["res5"]
        for name, block in self.extras.items():
            x = maps[name] = block(x)
        for name, module in self.decoder.items():
            x = maps[name] = module(x, maps[name.replace("d", "res")])
        return {name: maps[name] for name in self._out_shapes}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and nominal stride of each map; anchors take explicit steps instead."""
        return dict(self._out_shapes)

    def freeze_encoder(self) -> None:
        """Stop training trunk and residual blocks, statistics of their batch norms included."""
        for module in (self.trunk, self.extras):
            module.requires_grad_(False)
            FrozenBatchNorm2d.convert_frozen_batchnorm(module)


@BACKBONE_REGISTRY.register()
def build_dssd_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DSSDResNet:
    """The backbone of ``MODEL.DSSD``, ``MODEL.RESNETS`` and ``MODEL.BACKBONE.FREEZE_AT``.

    Raises:
        ConfigError: if the keys name no such maps, or the image is too small for all blocks.
    """
    dssd, names = cfg.MODEL.DSSD, cfg.MODEL.SSD.IN_FEATURES
    if tuple(cfg.MODEL.RESNETS.OUT_FEATURES) != ("res3", "res5"):
        raise ConfigError(
            "DSSD needs MODEL.RESNETS.OUT_FEATURES ['res3', 'res5']; got "
            f"{list(cfg.MODEL.RESNETS.OUT_FEATURES)}."
        )
    encoder = ["res3", "res5", *(f"res{i + 6}" for i in range(len(dssd.EXTRA_BLOCKS)))]
    allowed = [*encoder, *(name.replace("res", "d") for name in encoder[:-1])]
    if not set(names) <= set(allowed):
        raise ConfigError(
            f"MODEL.SSD.IN_FEATURES must name maps of {', '.join(allowed)}; got {', '.join(names)}."
        )
    trunk = build_resnet_backbone(cfg, input_shape)
    trunk.stem = CeilStem(
        input_shape.channels, cfg.MODEL.RESNETS.STEM_OUT_CHANNELS, cfg.MODEL.RESNETS.NORM
    )
    trunk.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    _check_image_size(cfg, trunk.stages)
    return DSSDResNet(
        trunk=trunk,
        extra_blocks=dssd.EXTRA_BLOCKS,
        out_features=names,
        width=dssd.WIDTH,
        norm=dssd.NORM,
    )


def _check_image_size(cfg: CfgNode, stages: Sequence[Sequence[CNNBlockBase]]) -> None:
    """Refuse an image of which the residual blocks would leave nothing."""
    image_size = cfg.MODEL.SSD.IMAGE_SIZE
    size = -(-((image_size + 1) // 2 - 3) // 2) + 1  # conv1, then the pooling
    for block in (block for stage in stages for block in stage):
        size = (size - 1) // block.stride + 1
    for number, (kernel, stride) in enumerate(cfg.MODEL.DSSD.EXTRA_BLOCKS, start=6):
        if size < kernel:
            raise ConfigError(
                f"MODEL.SSD.IMAGE_SIZE {image_size} is too small for MODEL.DSSD.EXTRA_BLOCKS: "
                f"res{number} has kernel {kernel}, but the map before it {size} x {size} pixels."
            )
        size = (size - kernel) // stride + 1
