"""A network of timm as a Detectron2 backbone, alone and with Detectron2's FPN on top."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.utils.arguments import check_choice

from .checks import check_weights_fit
from .freezing import freeze_unused, freeze_up_to, frozen_norms, set_norms
from .network import build_network

__all__ = [
    "TimmBackbone",
    "build_retinanet_timm_fpn_backbone",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
]


class TimmBackbone(Backbone):
    """A convolutional network of timm (PyTorch Image Models) and its feature maps.

    The maps are named after their strides, ``c<n>`` for 2^n; which there are, and their channels,
    is asked of timm. Images must be padded to multiples of :attr:`size_divisibility`, as
    Detectron2's detectors do, so that the maps have exactly these strides.

    Attributes:
        net: the network, with timm's names of its parameters.
    """

    @configurable
    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str] = ("c3", "c4", "c5"),
        in_channels: int = 3,
        norm: str = "BN",
        freeze_at: int = 0,
    ):
        """Build the network without weights; those that timm trained are ``timm://<name>``.

        Args:
            name: as in ``timm.list_models()``.
            out_features: names of the maps to return, finest first.
            in_channels: channels of the image.
            norm: "BN" trains the network's batch norms, "FrozenBN" freezes factors and statistics,
                "SyncBN" shares the statistics between GPUs.
            freeze_at: n freezes all that ``c<n>`` is computed with, batch norms included; 0 freezes
                nothing. As in Detectron2's ResNet, 2 is everything up to the maps of stride 4.

        Raises:
            ConfigError: if timm has no such network or map, or ``norm`` or ``freeze_at`` is not
                allowed.
        """
        super().__init__()
        network = build_network(name, out_features, in_channels)
        freeze_unused(network, name, out_features)
        freeze_up_to(network, name, freeze_at)
        # Depthwise convolutions are trained two to five times as fast on CPUs in this layout.
        self.net = set_norms(network, norm).to(memory_format=torch.channels_last)
        info = network.feature_info
        self._out_features = list(out_features)
        self._out_feature_channels = dict(zip(out_features, info.channels(), strict=True))
        self._out_feature_strides = dict(zip(out_features, info.reduction(), strict=True))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """From ``MODEL.TIMM`` and ``MODEL.BACKBONE.FREEZE_AT``."""
        check_weights_fit(cfg)
        return {
            "name": cfg.MODEL.TIMM.NAME,
            "out_features": cfg.MODEL.TIMM.OUT_FEATURES,
            "in_channels": input_shape.channels,
            "norm": cfg.MODEL.TIMM.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    @property
    def size_divisibility(self) -> int:
        """The largest stride."""
        return max(self._out_feature_strides.values())

    def train(self, mode: bool = True) -> nn.Module:
        """As in PyTorch; batch norms that are not trained keep their statistics."""
        super().train(mode)
        for norm in frozen_norms(self.net):
            norm.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            x: (N, C, H, W) normalised images; H and W are multiples of ``size_divisibility``.

        Returns:
            The maps ``out_features``, (N, channels, H / stride, W / stride) each.
        """
        maps = self.net(x.contiguous(memory_format=torch.channels_last))
        return {
            name: features.contiguous()
            for name, features in zip(self._out_features, maps, strict=True)
        }


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The network alone, with its own maps."""
    return TimmBackbone(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The network with Detectron2's FPN and a pooled last level: P2 to P6 of ``c2`` to ``c5``."""
    return _fpn(cfg, _bottom_up(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The network with Detectron2's FPN and two more levels: P3 to P7 of ``c3`` to ``c5``.

    Raises:
        ConfigError: if ``MODEL.TIMM.TOP_BLOCK_IN_FEATURE`` is neither the last map of the network
            nor the last of the pyramid.
    """
    bottom_up = _bottom_up(cfg, input_shape)
    last = cfg.MODEL.FPN.IN_FEATURES[-1]
    channels = {
        last.replace("c", "p"): cfg.MODEL.FPN.OUT_CHANNELS,
        last: bottom_up.output_shape()[last].channels,
    }
    feature = cfg.MODEL.TIMM.TOP_BLOCK_IN_FEATURE
    check_choice(feature, list(channels), "MODEL.TIMM.TOP_BLOCK_IN_FEATURE")
    top_block = LastLevelP6P7(channels[feature], cfg.MODEL.FPN.OUT_CHANNELS, feature)
    return _fpn(cfg, bottom_up, top_block)


def _bottom_up(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    bottom_up = TimmBackbone(cfg, input_shape)
    given, wanted = list(bottom_up.output_shape()), list(cfg.MODEL.FPN.IN_FEATURES)
    if not wanted or not set(wanted) <= set(given):
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES must name maps of MODEL.TIMM.OUT_FEATURES, {', '.join(given)}; "
            f"got {', '.join(wanted) or 'none'}."
        )
    return bottom_up


def _fpn(cfg: CfgNode, bottom_up: TimmBackbone, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
