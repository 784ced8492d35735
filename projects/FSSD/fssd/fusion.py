"""FSSD's feature fusion module."""

from collections.abc import Sequence

import torch
from detectron2.layers import get_norm
from torch import Tensor, nn
from torch.nn import functional as F

from scb_d2.projects.ssd import conv_relu

__all__ = ["FeatureFusion"]


class FeatureFusion(nn.Module):
    """Makes one map of several: reduce, align, concatenate, normalise (Li and Zhou 2017).

    A map that has ``channels`` channels already is not reduced, as in the original code
    (repository lzx1413/CAFFE_SSD).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        norm: str = "BN",
        align_corners: bool = True,
        layer_norm: str = "",
    ):
        """Build the layers.

        Args:
            in_channels: of each map.
            channels: that a 1x1 convolution with ReLU reduces each map to.
            norm: normalisation of the fused map, "" for none. The original's has no learnt scale
                and shift; this one does.
            align_corners: of the bilinear interpolation. True, as in the original, keeps the
                corner pixels of a map in place.
            layer_norm: see the ``norm`` of :class:`scb_d2.projects.ssd.VGG16`.
        """
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Identity()
            if number == channels
            else conv_relu(number, channels, 1, padding=0, norm=layer_norm)
            for number in in_channels
        )
        self.out_channels = channels * len(self.reduce)
        self.norm = get_norm(norm, self.out_channels) or nn.Identity()
        self.align_corners = align_corners

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse the maps.

        Args:
            features: (N, C, H, W) maps of any sizes.

        Returns:
            (N, channels x number of maps, H, W) with the H and W of the first map.
        """
        size = features[0].shape[-2:]
        maps = [layer(x) for layer, x in zip(self.reduce, features, strict=True)]
        maps = [
            x
            if x.shape[-2:] == size
            else F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)
            for x in maps
        ]
        return self.norm(torch.cat(maps, dim=1))
