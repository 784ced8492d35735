"""DSSD's deconvolution module."""

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import conv_norm

__all__ = ["DeconvolutionModule"]


class DeconvolutionModule(nn.Module):
    """Multiplies a map by what comes from the coarser level (Fu et al. 2017, figure 3).

    The coarser map is enlarged by a learnt deconvolution; both pass a 3x3 convolution with batch
    norm, the lateral one two of them, and the product passes ReLU.
    """

    def __init__(
        self,
        coarser_channels: int,
        lateral_channels: int,
        channels: int,
        *,
        kernel_size: int = 2,
        stride: int = 2,
        norm: str = "BN",
    ):
        """Build the layers.

        Args:
            coarser_channels: of the coarser map.
            lateral_channels: of the map that is refined.
            channels: of the output.
            kernel_size: of the deconvolution: that of the layer which made the coarser map.
            stride: of the same.
            norm: after each convolution.
        """
        super().__init__()
        self.upsample = nn.ConvTranspose2d(coarser_channels, channels, kernel_size, stride)
        nn.init.xavier_uniform_(self.upsample.weight)
        nn.init.zeros_(self.upsample.bias)
        self.deep = conv_norm(channels, channels, norm=norm)
        self.lateral1 = conv_norm(lateral_channels, channels, norm=norm, relu=True)
        self.lateral2 = conv_norm(channels, channels, norm=norm)

    def forward(self, coarser: Tensor, lateral: Tensor) -> Tensor:
        """Combine the maps.

        Args:
            coarser: (N, C, H, W).
            lateral: (N, C', H', W'). The enlarged coarser map is cropped or padded to H' x W', at
                its right and lower edge; at 321 and 513 px it fits.

        Returns:
            (N, ``channels``, H', W').
        """
        deep = self.upsample(coarser)
        missing = [want - got for want, got in zip(lateral.shape, deep.shape, strict=True)]
        deep = F.pad(deep, (0, missing[3], 0, missing[2]))
        return F.relu(self.deep(deep) * self.lateral2(self.lateral1(lateral)))
