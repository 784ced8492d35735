"""SSD's predictors."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import build_anchor_generator
from torch import Tensor, nn

from .layers import xavier_fill

__all__ = ["MultiBoxHead"]


class MultiBoxHead(nn.Module):
    """One convolution per level for the classes and one for the boxes of its anchors.

    Attributes:
        cls_score: per level a convolution to A x (K + 1) channels, the last of each K + 1 for
            background.
        bbox_pred: per level a convolution to A x 4 channels.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_anchors: Sequence[int],
        num_classes: int,
        kernel_sizes: Sequence[int] | int = 3,
    ):
        """Build the predictors.

        Args:
            input_shape: of each level.
            num_anchors: anchors per cell of each level, A.
            num_classes: K, without background.
            kernel_sizes: of each level, or one for all; padding keeps the resolution.
        """
        super().__init__()
        if isinstance(kernel_sizes, int):
            kernel_sizes = [kernel_sizes] * len(input_shape)
        self.num_classes = num_classes
        self.cls_score = nn.ModuleList()
        self.bbox_pred = nn.ModuleList()
        for shape, anchors, kernel in zip(input_shape, num_anchors, kernel_sizes, strict=True):
            for layers, outputs in ((self.cls_score, num_classes + 1), (self.bbox_pred, 4)):
                conv = Conv2d(shape.channels, anchors * outputs, kernel, padding=kernel // 2)
                xavier_fill(conv)
                layers.append(conv)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """From ``MODEL.SSD`` and the anchor generator of ``MODEL.ANCHOR_GENERATOR``."""
        return {
            "input_shape": input_shape,
            "num_anchors": build_anchor_generator(cfg, input_shape).num_cell_anchors,
            "num_classes": cfg.MODEL.SSD.NUM_CLASSES,
        }

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict from the maps of all levels.

        Args:
            features: one (N, C, H, W) map per level.

        Returns:
            Per level the logits (N, A x (K + 1), H, W) and the box deltas (N, A x 4, H, W).
        """
        return (
            [layer(x) for layer, x in zip(self.cls_score, features, strict=True)],
            [layer(x) for layer, x in zip(self.bbox_pred, features, strict=True)],
        )
