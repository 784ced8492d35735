"""Small, medium and large: COCO's limits of 32^2 and 96^2 square pixels, on any kind of area."""

import torch
from torch import Tensor

__all__ = ["SIZE_EDGES", "SIZE_NAMES", "size_index"]

SIZE_NAMES = ("small", "medium", "large")
SIZE_EDGES = (32.0**2, 96.0**2)


def size_index(area: Tensor) -> Tensor:
    """Index into :data:`SIZE_NAMES`: small below 32^2, medium below 96^2, large from there on.

    Args:
        area: areas in square pixels, any shape, floating point.

    Returns:
        int64 tensor of the same shape.
    """
    return torch.bucketize(area, area.new_tensor(SIZE_EDGES), right=True)
