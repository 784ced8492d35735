"""Both of RefineDet's heads and what connects them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_anchor_generator
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import MultiBoxHead

from .transfer_connection import TransferConnection

__all__ = ["RefineDetHead"]


class RefineDetHead(nn.Module):
    """Anchor refinement module (ARM), transfer connections, object detection module (ODM).

    Attributes:
        arm: predicts object or background, and deltas of the anchors.
        transfer: one :class:`TransferConnection` per level.
        odm: predicts classes, and deltas of the refined anchors.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_anchors: Sequence[int],
        num_classes: int,
        channels: int = 256,
    ):
        """Build the layers.

        Args:
            input_shape: of each level, finest first.
            num_anchors: anchors per cell of each level.
            num_classes: K, without background.
            channels: of the transfer connections.
        """
        super().__init__()
        self.arm = MultiBoxHead(input_shape=input_shape, num_anchors=num_anchors, num_classes=1)
        coarsest = len(input_shape) - 1
        self.transfer = nn.ModuleList(
            TransferConnection(shape.channels, channels, has_coarser=level < coarsest)
            for level, shape in enumerate(input_shape)
        )
        self.odm = MultiBoxHead(
            input_shape=[ShapeSpec(channels=channels)] * len(input_shape),
            num_anchors=num_anchors,
            num_classes=num_classes,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """From ``MODEL.SSD``, ``MODEL.REFINEDET`` and the anchor generator.

        Raises:
            ConfigError: if the image size does not halve evenly from level to level, so that the
                maps which a transfer connection adds would differ in size.
        """
        strides = [shape.stride for shape in input_shape]
        size = cfg.MODEL.SSD.IMAGE_SIZE
        if size % strides[-1] or any(2 * fine != coarse for fine, coarse in pairwise(strides)):
            raise ConfigError(
                "RefineDet needs maps that halve from level to level and an image size that is a "
                f"multiple of the last stride; got the strides {strides} of "
                f"MODEL.SSD.IN_FEATURES and MODEL.SSD.IMAGE_SIZE {size}."
            )
        return {
            "input_shape": input_shape,
            "num_anchors": build_anchor_generator(cfg, input_shape).num_cell_anchors,
            "num_classes": cfg.MODEL.SSD.NUM_CLASSES,
            "channels": cfg.MODEL.REFINEDET.TCB_CHANNELS,
        }

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Predict from the maps of all levels.

        Args:
            features: one (N, C, H, W) map per level, finest first.

        Returns:
            Per level the ARM's logits (N, A x 2, H, W), object before background, and deltas
            (N, A x 4, H, W); the ODM's logits (N, A x (K + 1), H, W) and deltas (N, A x 4, H, W).
        """
        coarser, transferred = None, []
        for x, block in zip(reversed(features), reversed(self.transfer), strict=True):
            coarser = block(x, coarser)
            transferred.insert(0, coarser)
        return *self.arm(features), *self.odm(transferred)
