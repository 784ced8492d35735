"""DSSD's prediction modules and predictors."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import MultiBoxHead, scaled_channels

from .layers import ResidualBlock, conv_norm

__all__ = ["DSSDHead"]

_PREDICTION_CHANNELS = 1024


class DSSDHead(MultiBoxHead):
    """SSD's predictors behind one prediction module per level (Fu et al. 2017, figure 2 (c)).

    Attributes:
        prediction: per level a :class:`ResidualBlock`, shared by classes and boxes.
        cls_inter: per level what stands between it and ``cls_score``.
        bbox_inter: the same for ``bbox_pred``.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_anchors: Sequence[int],
        num_classes: int,
        kernel_sizes: Sequence[int] | int = 3,
        prediction_channels: int = _PREDICTION_CHANNELS,
        inter_channels: Sequence[int] = (),
        norm: str = "BN",
    ):
        """Build the layers.

        Args:
            input_shape: of each level.
            num_anchors: anchors per cell of each level.
            num_classes: K, without background.
            kernel_sizes: of the predictors of each level, or one for all.
            prediction_channels: of the prediction modules' outputs.
            inter_channels: per level the channels of a 3x3 convolution of its own before each
                predictor; empty: none.
            norm: after each convolution but the predictors.
        """
        channels = list(inter_channels) or [prediction_channels] * len(input_shape)
        super().__init__(
            input_shape=[ShapeSpec(channels=x) for x in channels],
            num_anchors=num_anchors,
            num_classes=num_classes,
            kernel_sizes=kernel_sizes,
        )
        self.prediction = nn.ModuleList(
            ResidualBlock(x.channels, prediction_channels, prediction_channels // 4, norm=norm)
            for x in input_shape
        )
        self.cls_inter, self.bbox_inter = (
            nn.ModuleList(
                conv_norm(prediction_channels, x, norm=norm, relu=True)
                if inter_channels
                else nn.Identity()
                for x in channels
            )
            for _ in range(2)
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """From ``MODEL.DSSD`` and what :meth:`MultiBoxHead.from_config` reads.

        Raises:
            ConfigError: if keys that have one entry per level have more or fewer.
        """
        dssd = cfg.MODEL.DSSD
        for key in ("PREDICTOR_KERNELS", "INTER_CHANNELS"):
            length = len(dssd[key])
            if length != len(input_shape) and (key == "PREDICTOR_KERNELS" or length):
                raise ConfigError(
                    f"MODEL.DSSD.{key} has {length} entries, but there are {len(input_shape)} "
                    "feature maps in MODEL.SSD.IN_FEATURES."
                )
        return {
            **super().from_config(cfg, input_shape),
            "kernel_sizes": dssd.PREDICTOR_KERNELS,
            "prediction_channels": scaled_channels(_PREDICTION_CHANNELS, dssd.WIDTH),
            "inter_channels": [scaled_channels(x, dssd.WIDTH) for x in dssd.INTER_CHANNELS],
            "norm": dssd.NORM,
        }

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict from the maps of all levels, see :meth:`MultiBoxHead.forward`."""
        features = [layer(x) for layer, x in zip(self.prediction, features, strict=True)]
        return tuple(
            [predictor(inter(x)) for predictor, inter, x in zip(*branch, features, strict=True)]
            for branch in ((self.cls_score, self.cls_inter), (self.bbox_pred, self.bbox_inter))
        )
