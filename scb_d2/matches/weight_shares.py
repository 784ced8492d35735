"""The positive weight, the sum of W x M over objects, that each size carries under each form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from scb_d2.loss.object_weights import PAPER_FORMS, ScaleBalancedWeight, object_weights
from scb_d2.utils.size_groups import SIZE_NAMES

from .rotated import as_boxes
from .tally import ImageMatches

__all__ = ["FormSums", "weight_shares"]


class FormSums:
    """Running sum of W x M by size, for a form that needs the boxes of the objects.

    Attributes:
        sums: (sizes,) float64.
    """

    def __init__(self, weight: ScaleBalancedWeight):
        """Start at 0.

        Args:
            weight: of the config.
        """
        self.weight = weight
        self.sums = np.zeros(len(SIZE_NAMES))

    def __call__(self, image: ImageMatches) -> None:
        """Add the objects of one image."""
        boxes = as_boxes(image.input_boxes)
        weights = self.weight.of_objects(torch.as_tensor(image.counts), boxes)
        says = weights.double().numpy() * image.counts
        self.sums += np.bincount(image.sizes, says, len(SIZE_NAMES))


def weight_shares(
    by_size: Mapping[tuple[int, int], int],
    alpha: float = 1.0,
    beta: float = 3.0,
    further_sums: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """What each size carries of the positive weight.

    Args:
        by_size: objects per (size index, M).
        alpha: of every form.
        beta: of every form.
        further_sums: :attr:`FormSums.sums` by form, for forms that need more than M.

    Returns:
        ``objects`` by size; and for ``stock`` (W = 1), each form of the paper's table 1 and each
        further one the ``sum`` by size, the ``share`` by size and the ``mean`` per object by size,
        with ``total``.
    """
    keys = sorted(by_size)
    sizes = np.array([size for size, _ in keys], dtype=np.int64)
    matches = np.array([m for _, m in keys], dtype=np.float64)
    objects = np.array([by_size[key] for key in keys], dtype=np.float64)
    per_size = np.bincount(sizes, objects, len(SIZE_NAMES))
    sums = {"stock": np.bincount(sizes, objects * matches, len(SIZE_NAMES))}
    for form in PAPER_FORMS:
        weights = object_weights(torch.as_tensor(matches), form, alpha, beta).double().numpy()
        sums[form] = np.bincount(sizes, objects * weights * matches, len(SIZE_NAMES))
    sums |= further_sums or {}
    shares: dict[str, Any] = {
        "objects": {name: int(n) for name, n in zip(SIZE_NAMES, per_size, strict=True)}
    }
    for form, per_form in sums.items():
        total = float(per_form.sum())
        shares[form] = {
            "total": total,
            "sum": dict(zip(SIZE_NAMES, per_form.tolist(), strict=True)),
            "share": dict(zip(SIZE_NAMES, (per_form / max(total, 1e-12)).tolist(), strict=True)),
            "mean": dict(zip(SIZE_NAMES, (per_form / per_size.clip(min=1)).tolist(), strict=True)),
        }
    return shares
