"""The transfer connection block between RefineDet's two stages."""

from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn import functional as F

from scb_d2.projects.ssd import conv_relu

__all__ = ["TransferConnection"]


class TransferConnection(nn.Module):
    """Turns one map of the ARM into one of the ODM, adding what comes from the coarser level.

    Zhang et al. 2018, section 3.1 and figure 2: two 3x3 convolutions, the coarser output upsampled
    by a deconvolution and added, ReLU, one 3x3 convolution with ReLU. No batch norm.
    """

    def __init__(self, in_channels: int, channels: int, has_coarser: bool):
        """Build the layers, Xavier initialised.

        Args:
            in_channels: of the ARM's map.
            channels: of the coarser block's output and of this one's.
            has_coarser: False on the coarsest level, which has nothing to add.
        """
        super().__init__()
        self.lateral1 = conv_relu(in_channels, channels)
        self.lateral2 = Conv2d(channels, channels, 3, padding=1)
        added = [self.lateral2]
        self.upsample = None
        if has_coarser:
            self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
            added.append(self.upsample)
        for layer in added:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.output = conv_relu(channels, channels)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Combine the maps.

        Args:
            x: (N, C, H, W) map of the ARM.
            coarser: (N, ``channels``, H / 2, W / 2) output of the coarser block, if there is one.

        Returns:
            (N, ``channels``, H, W).
        """
        x = self.lateral2(self.lateral1(x))
        if self.upsample is not None:
            x = x + self.upsample(coarser)
        return self.output(F.relu(x))
