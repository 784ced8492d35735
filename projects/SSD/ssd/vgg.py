"""VGG16 whose fully connected layers became convolutions ("reduced fc")."""

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import conv_relu

__all__ = ["VGG16", "scaled_channels"]

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_FC_CHANNELS = 1024


def scaled_channels(channels: int, width: float) -> int:
    """A number of channels times ``width``, rounded to a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


class VGG16(nn.Module):
    """The trunk of SSD, FSSD and RefineDet: conv1_1 to conv5_3, then fc6 and fc7.

    Layers are attributes with Caffe's names; every one is a convolution followed by ReLU.
    """

    def __init__(
        self, *, in_channels: int = 3, width: float = 1.0, dilated: bool = True, norm: str = ""
    ):
        """Build the layers.

        Args:
            in_channels: channels of the image.
            width: factor on all numbers of channels; below 1 for toys.
            dilated: True (SSD, FSSD): pool5 keeps the resolution and fc6 has dilation 6. False
                (RefineDet): pool5 halves it and fc6 has dilation 3.
            norm: normalisation after each convolution, for training from scratch; VGG16 has none.
        """
        super().__init__()
        self.dilated = dilated
        self.channels: dict[str, int] = {}
        for block, (channels, num_convs) in enumerate(_BLOCKS, start=1):
            for index in range(1, num_convs + 1):
                out_channels = scaled_channels(channels, width)
                conv = conv_relu(in_channels, out_channels, norm=norm)
                # Thirteen Xavier layers would hardly let anything through; only toys start here.
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                self._add(f"conv{block}_{index}", conv)
                in_channels = out_channels
        fc_channels = scaled_channels(_FC_CHANNELS, width)
        dilation = 6 if dilated else 3
        fc6 = conv_relu(in_channels, fc_channels, 3, padding=dilation, dilation=dilation, norm=norm)
        self._add("fc6", fc6)
        self._add("fc7", conv_relu(fc_channels, fc_channels, 1, padding=0, norm=norm))

    def _add(self, name: str, layer: nn.Conv2d) -> None:
        self.add_module(name, layer)
        self.channels[name] = layer.out_channels

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each layer's output, pixels."""
        fc_stride = 16 if self.dilated else 32
        return {
            name: fc_stride if name.startswith("fc") else 2 ** (int(name[4]) - 1)
            for name in self.channels
        }

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Run the trunk.

        Args:
            x: (N, 3, H, W) normalised images.

        Returns:
            ``conv4_3`` (stride 8), ``conv5_3`` (16) and ``fc7`` (16, or 32 where not dilated),
            after ReLU. Pooling rounds sizes up, as Caffe does.
        """
        outputs = {}
        for block, (_, num_convs) in enumerate(_BLOCKS, start=1):
            if block > 1:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            for index in range(1, num_convs + 1):
                x = getattr(self, f"conv{block}_{index}")(x)
            outputs[f"conv{block}_{num_convs}"] = x
        x = F.max_pool2d(x, 3, 1, 1) if self.dilated else F.max_pool2d(x, 2, ceil_mode=True)
        fc7 = self.fc7(self.fc6(x))
        return {"conv4_3": outputs["conv4_3"], "conv5_3": outputs["conv5_3"], "fc7": fc7}

    def freeze(self, freeze_at: int = 0) -> None:
        """Stop training the first ``freeze_at`` of the five blocks of convolutions."""
        for block in range(1, min(freeze_at, len(_BLOCKS)) + 1):
            for index in range(1, _BLOCKS[block - 1][1] + 1):
                getattr(self, f"conv{block}_{index}").requires_grad_(False)
