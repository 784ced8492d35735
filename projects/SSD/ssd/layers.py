"""Layers of the SSD family."""

from collections.abc import Callable
from typing import Any

import torch
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["L2Norm", "conv_norm", "conv_relu", "xavier_fill"]


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


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    *,
    norm: str,
    relu: bool,
    initialize: Callable[[Conv2d], object],
) -> Conv2d:
    """A convolution, a norm in the place of its bias (``""``: none), and ReLU where wanted."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu if relu else None,
    )
    initialize(conv)
    return conv


def conv_relu(*args: Any, norm: str = "", **kwargs: Any) -> Conv2d:
    """As :func:`conv_norm`, with ReLU and initialised as in SSD."""
    return conv_norm(*args, norm=norm, relu=True, initialize=xavier_fill, **kwargs)


def xavier_fill(conv: Conv2d) -> None:
    """Xavier's uniform weights and a bias of 0, where there is one."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
