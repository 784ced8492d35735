"""Layers of the SSD family."""

import torch
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["L2Norm", "conv_relu"]


class L2Norm(nn.Module):
    """Scales the channel vector of each pixel to a learnt length per channel.

    ParseNet's normalisation, which SSD puts on conv4_3 (Liu et al. 2016, section 3.1).
    """

    def __init__(self, num_channels: int, scale: float = 20.0):
        """Build the layer.

        Args:
            num_channels: C.
            scale: initial value of the C learnt factors.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W); an all-zero pixel stays zero and has finite gradients."""
        return F.normalize(x, dim=1, eps=1e-10) * self.weight[:, None, None]


def conv_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    norm: str = "",
) -> Conv2d:
    """A convolution and ReLU, Xavier initialised as in SSD; ``norm`` is in the bias's place."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
