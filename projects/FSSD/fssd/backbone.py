"""FSSD's feature maps: VGG16, feature fusion, and a pyramid on the fused map."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import SSDVGG, conv_relu, scaled_channels

from .fusion import FeatureFusion

__all__ = ["FSSDVGG", "build_fssd_vgg_backbone"]


class FSSDVGG(SSDVGG):
    """SSD's backbone, whose maps are fused and then shrunk again (Li and Zhou 2017, figure 3).

    Attributes:
        fusion: the :class:`FeatureFusion`.
        pyramid: the layers "p0", "p1", ..., each a convolution with ReLU on the one before.
        fused_stride: of the map that they start from, pixels.
    """

    def __init__(
        self,
        *,
        fused_features: Sequence[str] = ("conv4_3", "fc7", "conv7_2"),
        pyramid_layers: Sequence[Sequence[int]],
        fusion_channels: int = 256,
        fusion_norm: str = "BN",
        align_corners: bool = True,
        width: float = 1.0,
        norm: str = "",
        **ssd_vgg: Any,
    ):
        """Build the backbone.

        Args:
            fused_features: maps of :class:`SSDVGG` to fuse.
            pyramid_layers: channels, kernel, stride and padding of each layer of the pyramid.
            fusion_channels: see :class:`FeatureFusion`.
            fusion_norm: see :class:`FeatureFusion`.
            align_corners: see :class:`FeatureFusion`.
            width: see :class:`SSDVGG`; fusion and pyramid are scaled too.
            norm: see :class:`SSDVGG`; reduction and pyramid get it too.
            ssd_vgg: the other arguments of :class:`SSDVGG`.
        """
        super().__init__(out_features=fused_features, width=width, norm=norm, **ssd_vgg)
        sources = super().output_shape()
        self.fusion = FeatureFusion(
            [sources[name].channels for name in fused_features],
            scaled_channels(fusion_channels, width),
            norm=fusion_norm,
            align_corners=align_corners,
            layer_norm=norm,
        )
        self.pyramid = nn.ModuleDict()
        self._pyramid_shapes: dict[str, ShapeSpec] = {}
        in_channels, total_stride = self.fusion.out_channels, sources[fused_features[0]].stride
        self.fused_stride = total_stride
        for level, (channels, kernel, stride, padding) in enumerate(pyramid_layers):
            channels, total_stride = scaled_channels(channels, width), total_stride * stride
            self.pyramid[f"p{level}"] = conv_relu(
                in_channels, channels, kernel, stride, padding, norm=norm
            )
            self._pyramid_shapes[f"p{level}"] = ShapeSpec(channels=channels, stride=total_stride)
            in_channels = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps of the pyramid.

        Args:
            x: (N, C, H, W) normalised images.

        Returns:
            The maps by name: "p0", "p1", ...
        """
        x = self.fusion(list(super().forward(x).values()))
        maps = {}
        for name, layer in self.pyramid.items():
            x = maps[name] = layer(x)
        return maps

    def output_shape(self) -> dict[str, ShapeSpec]:
        """See :meth:`SSDVGG.output_shape`."""
        return dict(self._pyramid_shapes)


@BACKBONE_REGISTRY.register()
def build_fssd_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FSSDVGG:
    """The backbone of ``MODEL.FSSD``, ``MODEL.SSD`` and ``MODEL.BACKBONE.FREEZE_AT``.

    conv4_3 has no L2 norm here; the fused map is normalised instead.

    Raises:
        ConfigError: if ``MODEL.SSD.IN_FEATURES`` are not maps of the pyramid, or the image is too
            small for its layers.
    """
    ssd, fssd = cfg.MODEL.SSD, cfg.MODEL.FSSD
    names = [f"p{level}" for level in range(len(fssd.PYRAMID_LAYERS))]
    if not set(ssd.IN_FEATURES) <= set(names):
        raise ConfigError(
            f"MODEL.SSD.IN_FEATURES must name maps of FSSD's pyramid, {', '.join(names)}; got "
            f"{', '.join(ssd.IN_FEATURES)}."
        )
    backbone = FSSDVGG(
        extra_layers=ssd.EXTRA_LAYERS,
        fused_features=fssd.FUSED_FEATURES,
        pyramid_layers=fssd.PYRAMID_LAYERS,
        fusion_channels=fssd.FUSION_CHANNELS,
        fusion_norm=fssd.FUSION_NORM,
        align_corners=fssd.ALIGN_CORNERS,
        width=ssd.VGG_WIDTH,
        norm=ssd.VGG_NORM,
        in_channels=input_shape.channels,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
    _check_image_size(cfg, backbone)
    return backbone


def _check_image_size(cfg: CfgNode, backbone: FSSDVGG) -> None:
    """Refuse an image of which the pyramid would leave nothing."""
    image_size = cfg.MODEL.SSD.IMAGE_SIZE
    size = -(-image_size // backbone.fused_stride)
    for level, (_, kernel, stride, padding) in enumerate(cfg.MODEL.FSSD.PYRAMID_LAYERS):
        if size + 2 * padding < kernel:
            raise ConfigError(
                f"MODEL.SSD.IMAGE_SIZE {image_size} is too small for MODEL.FSSD.PYRAMID_LAYERS: "
                f"p{level} has kernel {kernel}, but the map before it {size} x {size} pixels."
            )
        size = (size + 2 * padding - kernel) // stride + 1
