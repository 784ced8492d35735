"""The feature maps of the SSD family: VGG16, L2 norms, and layers that shrink the map further."""

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from scb_d2.errors import ConfigError

from .layers import L2Norm, conv_relu
from .vgg import VGG16, scaled_channels

__all__ = ["SSDVGG", "build_ssd_vgg_backbone"]


class SSDVGG(Backbone):
    """VGG16 and pairs of extra layers conv6_1, conv6_2, conv7_1, ..., with Caffe's names.

    The strides of :meth:`output_shape` are nominal: SSD's anchors have steps of their own.

    Attributes:
        vgg: the trunk, :class:`VGG16`.
        extras: the extra layers by name.
        norms: the L2 norms by the name of the map that they normalise.
    """

    def __init__(
        self,
        *,
        extra_layers: Sequence[Sequence[int]],
        out_features: Sequence[str],
        l2_norm_scales: Mapping[str, float] | None = None,
        width: float = 1.0,
        dilated: bool = True,
        in_channels: int = 3,
        freeze_at: int = 0,
        norm: str = "",
    ):
        """Build the backbone.

        Args:
            extra_layers: one entry (middle channels, channels, kernel, stride, padding) per pair: a
                1x1 convolution ``conv<n>_1`` and a convolution ``conv<n>_2``, n from 6 on, each
                followed by ReLU.
            out_features: names of the maps to return: ``conv4_3``, ``conv5_3``, ``fc7`` and
                ``conv<n>_2``.
            l2_norm_scales: initial scale of the L2 norm of a map of the trunk. Only what is
                returned is normalised; the next layer sees the map as it is.
            width: see :class:`VGG16`; extra layers are scaled too.
            dilated: see :class:`VGG16`.
            in_channels: channels of the image.
            freeze_at: number of blocks of VGG16 that are not trained.
            norm: see :class:`VGG16`; the small maps of the extra layers are not normalised.

        Raises:
            ConfigError: if there is no map of a name in ``out_features``.
        """
        super().__init__()
        self.vgg = VGG16(in_channels=in_channels, width=width, dilated=dilated, norm=norm)
        self.vgg.freeze(freeze_at)
        taps = ("conv4_3", "conv5_3", "fc7")
        self._out_feature_channels = {name: self.vgg.channels[name] for name in taps}
        self._out_feature_strides = {name: self.vgg.strides[name] for name in taps}

        self.extras = nn.ModuleDict()
        channels, total_stride = self.vgg.channels["fc7"], self.vgg.strides["fc7"]
        for number, (middle, out, kernel, stride, padding) in enumerate(extra_layers, start=6):
            middle, out = scaled_channels(middle, width), scaled_channels(out, width)
            self.extras[f"conv{number}_1"] = conv_relu(channels, middle, 1, padding=0)
            self.extras[f"conv{number}_2"] = conv_relu(middle, out, kernel, stride, padding)
            channels, total_stride = out, total_stride * stride
            self._out_feature_channels[f"conv{number}_2"] = channels
            self._out_feature_strides[f"conv{number}_2"] = total_stride

        self.norms = nn.ModuleDict(
            {
                name: L2Norm(self._out_feature_channels[name], scale)
                for name, scale in (l2_norm_scales or {}).items()
            }
        )
        for name in out_features:
            if name not in self._out_feature_channels:
                raise ConfigError(
                    f"there is no feature map {name!r}, which MODEL.SSD.IN_FEATURES or "
                    "MODEL.FSSD.FUSED_FEATURES names; there are "
                    f"{', '.join(self._out_feature_channels)}."
                )
        self._out_features = list(out_features)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            x: (N, C, H, W) normalised images.

        Returns:
            The maps named ``out_features``.
        """
        features = self.vgg(x)
        x = features["fc7"]
        for name, layer in self.extras.items():
            x = layer(x)
            features[name] = x
        for name, norm in self.norms.items():
            features[name] = norm(features[name])
        return {name: features[name] for name in self._out_features}


@BACKBONE_REGISTRY.register()
def build_ssd_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SSDVGG:
    """The backbone of ``MODEL.SSD`` and ``MODEL.BACKBONE.FREEZE_AT``."""
    ssd = cfg.MODEL.SSD
    return SSDVGG(
        extra_layers=ssd.EXTRA_LAYERS,
        out_features=ssd.IN_FEATURES,
        l2_norm_scales={"conv4_3": ssd.L2_NORM_SCALE},
        width=ssd.VGG_WIDTH,
        in_channels=input_shape.channels,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=ssd.VGG_NORM,
    )
