"""Layers of DSSD."""

from typing import Any

from detectron2.layers import CNNBlockBase, Conv2d
from detectron2.modeling.backbone.resnet import BasicStem
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor
from torch.nn import functional as F

import scb_d2.projects.ssd.layers as ssd

__all__ = ["CeilStem", "ResidualBlock", "conv_norm"]


def conv_norm(*args: Any, norm: str = "BN", relu: bool = False, **kwargs: Any) -> Conv2d:
    """As :func:`scb_d2.projects.ssd.layers.conv_norm`, He initialised."""
    return ssd.conv_norm(*args, norm=norm, relu=relu, initialize=c2_msra_fill, **kwargs)


class CeilStem(BasicStem):
    """ResNet's stem with the pooling of Caffe: no padding, sizes rounded up.

    Detectron2's pads by one instead, which makes the maps of 321 px one larger, and so the
    anchors more than DSSD's 17080.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 64, about H / 4, about W / 4); 321 px to 80."""
        return F.max_pool2d(F.relu_(self.conv1(x)), 3, stride=2, ceil_mode=True)


class ResidualBlock(CNNBlockBase):
    """A bottleneck whose first convolution and shortcut share kernel and stride, unpadded.

    It is DSSD's block after the trunk, and with kernel 1 its prediction module (c) (Fu et al. 2017,
    figure 2; the middle kernel of 3 is that of the repository chengyangfu/caffe).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        norm: str = "BN",
    ):
        """Build the layers.

        Args:
            in_channels: of the input.
            out_channels: of the output.
            bottleneck_channels: between the convolutions.
            kernel_size: of the first convolution and the shortcut.
            stride: of the same.
            norm: after each convolution.
        """
        super().__init__(in_channels, out_channels, stride)
        shape = {"kernel_size": kernel_size, "stride": stride, "padding": 0, "norm": norm}
        self.conv1 = conv_norm(in_channels, bottleneck_channels, **shape, relu=True)
        self.conv2 = conv_norm(bottleneck_channels, bottleneck_channels, norm=norm, relu=True)
        self.conv3 = conv_norm(bottleneck_channels, out_channels, 1, padding=0, norm=norm)
        self.shortcut = conv_norm(in_channels, out_channels, **shape)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, ``out_channels``, (H - kernel) // stride + 1, the same of W)."""
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))
