"""SSD's anchors ("default boxes", "priors")."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.anchor_generator import BufferList
from detectron2.structures import Boxes
from torch import Tensor, nn

from scb_d2.errors import ConfigError

__all__ = ["SSDAnchorGenerator", "cell_boxes"]


def cell_boxes(min_size: float, max_size: float | None, aspect_ratios: Sequence[float]) -> Tensor:
    """Anchors of one cell around the origin, in the order of Caffe's PriorBox layer.

    A square of side ``min_size``, one of side sqrt(``min_size`` x ``max_size``) if there is a
    maximum, then per ratio r a box of min_size x sqrt(r) by min_size / sqrt(r) and its transpose.

    Args:
        min_size: pixels.
        max_size: pixels, or None.
        aspect_ratios: width / height, each > 1.

    Returns:
        (A, 4) float64 XYXY pixels.
    """
    sides = [(min_size, min_size)]
    if max_size is not None:
        sides.append((math.sqrt(min_size * max_size),) * 2)
    for ratio in aspect_ratios:
        long, short = min_size * math.sqrt(ratio), min_size / math.sqrt(ratio)
        sides += [(long, short), (short, long)]
    half = torch.tensor(sides, dtype=torch.float64) / 2
    return torch.cat([-half, half], dim=1)


@ANCHOR_GENERATOR_REGISTRY.register()
class SSDAnchorGenerator(nn.Module):
    """Anchors whose sizes, ratios and grid are given per level.

    Boxes are continuous XYXY pixels and not clipped. Their order is level, row, column, anchor,
    as Detectron2's dense heads expect.
    """

    box_dim = 4

    @configurable
    def __init__(
        self,
        *,
        min_sizes: Sequence[float],
        max_sizes: Sequence[float] = (),
        aspect_ratios: Sequence[Sequence[float]],
        steps: Sequence[float],
        starts: Sequence[float] = (),
    ):
        """Build the generator; the lists have one entry per level.

        Args:
            min_sizes: side of the small square, pixels.
            max_sizes: with it the side of the big square, see :func:`cell_boxes`; empty: none.
            aspect_ratios: width / height, without 1 and without inverses.
            steps: distance of neighbouring cells, pixels; need not be image size / map size.
            starts: centre of the first cell, pixels; empty: half a step.

        Raises:
            ConfigError: if the lists do not have one entry per level each.
        """
        super().__init__()
        num_levels = len(min_sizes)
        lengths = {
            "max_sizes": len(max_sizes) or num_levels,
            "aspect_ratios": len(aspect_ratios),
            "steps": len(steps),
            "starts": len(starts) or num_levels,
        }
        for name, length in lengths.items():
            if length != num_levels:
                raise ConfigError(
                    f"anchors need one of {name} per level: there are {num_levels} min_sizes and "
                    f"{length} {name}."
                )
        self.steps = tuple(float(step) for step in steps)
        self.starts = tuple(float(start) for start in starts) or tuple(x / 2 for x in self.steps)
        maxima = max_sizes or [None] * num_levels
        self.cell_anchors = BufferList(
            [
                cell_boxes(*sizes).to(torch.float32)
                for sizes in zip(min_sizes, maxima, aspect_ratios, strict=True)
            ]
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """From ``MODEL.SSD``."""
        ssd = cfg.MODEL.SSD
        if len(ssd.MIN_SIZES) != len(input_shape):
            raise ConfigError(
                f"MODEL.SSD.MIN_SIZES has {len(ssd.MIN_SIZES)} entries, but there are "
                f"{len(input_shape)} feature maps."
            )
        return {
            "min_sizes": ssd.MIN_SIZES,
            "max_sizes": ssd.MAX_SIZES,
            "aspect_ratios": ssd.ASPECT_RATIOS,
            "steps": ssd.STEPS,
            "starts": ssd.STARTS,
        }

    @property
    def num_cell_anchors(self) -> list[int]:
        """Anchors per cell of each level."""
        return [len(boxes) for boxes in self.cell_anchors]

    num_anchors = num_cell_anchors
    """Detectron2's other name for the same."""

    def forward(self, features: Sequence[Tensor]) -> list[Boxes]:
        """Anchors for feature maps.

        Args:
            features: one (N, C, H, W) map per level; only H and W matter.

        Returns:
            One Boxes of H x W x A anchors per level.
        """
        levels = zip(features, self.cell_anchors, self.steps, self.starts, strict=True)
        return [Boxes(_tile(x.shape[-2:], boxes, step, start)) for x, boxes, step, start in levels]


def _tile(size: Sequence[int], boxes: Tensor, step: float, start: float) -> Tensor:
    rows, columns = (
        torch.arange(n, dtype=boxes.dtype, device=boxes.device) * step + start for n in size
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y, x, y], dim=-1)  # (H, W, 4)
    return (centres[:, :, None] + boxes).reshape(-1, 4)
