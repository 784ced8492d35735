"""Size bins of ground-truth objects and the rule that measures an object.

An object's bin depends on the ground truth only, never on the detection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.errors import ConfigError
from scb_d2.utils.size_groups import SIZE_EDGES, SIZE_NAMES

__all__ = ["AREA_RULES", "SizeBins", "input_scales", "object_areas"]

Array = NDArray[Any]

AREA_RULES = {
    "annotation": "the annotation's area in native pixels",
    "box": "area of the box in native pixels",
    "input": "area of the box in network-input pixels",
}


@dataclass(frozen=True)
class SizeBins:
    """Bins of object area, in square pixels.

    Bin b holds `edges[b-1] <= area < edges[b]`; the first starts at 0, the last has no upper limit.

    Attributes:
        edges: ascending inner limits; COCO's 32^2 and 96^2 by default.
        names: one per bin: small, medium, large for three bins, else the limits.
    """

    edges: tuple[float, ...] = SIZE_EDGES
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        edges = tuple(float(edge) for edge in self.edges)
        if not edges or any(b <= a for a, b in pairwise((0.0, *edges))):
            raise ConfigError(
                f"area limits {self.edges}: must be positive and ascending, such as 1024 9216."
            )
        if not np.isfinite(edges).all():
            raise ConfigError(f"area limits {self.edges}: must be finite.")
        object.__setattr__(self, "edges", edges)
        if len(edges) == 2:
            names = SIZE_NAMES
        else:
            limits = [0, *(f"{edge:g}" for edge in edges)]
            names = tuple(f"{a}-{b}" for a, b in pairwise(limits))
            names = (*names, f"{limits[-1]}-inf")
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, area: Array) -> Array:
        """Bin of every area: int64 array of the same shape."""
        return np.searchsorted(np.array(self.edges), area, side="right")

    def coco_ranges(self) -> Array:
        """(1 + bins, 2) ranges of COCO's AP: all, then the bins, closed at both ends as there."""
        limits = [0.0, *self.edges, 1e10]
        return np.array([(0.0, 1e10), *pairwise(limits)])

    def describe(self) -> dict[str, str]:
        """Limits of every bin in words, by name."""
        roots = [f"{edge**0.5:g}²" for edge in self.edges]
        words = [f"area < {roots[0]} px"]
        words += [f"{a} ≤ area < {b} px" for a, b in pairwise(roots)]
        words += [f"area ≥ {roots[-1]} px"]
        return dict(zip(self.names, words, strict=True))


def object_areas(ground_truth: GroundTruth, rule: str, area_scales: Array | None = None) -> Array:
    """Areas of the objects under a rule of :data:`AREA_RULES`.

    Args:
        ground_truth: G objects.
        rule: `annotation`, `box` or `input`.
        area_scales: (N,) square network-input pixels per square native pixel, for `input`.

    Returns:
        (G,) float64, square pixels.

    Raises:
        ConfigError: the rule is unknown, or `input` lacks its scales.
    """
    if rule not in AREA_RULES:
        raise ConfigError(f"area rule {rule!r}: must be one of {', '.join(AREA_RULES)}.")
    if rule == "annotation":
        return ground_truth.area
    area = ground_truth.boxes[:, 2] * ground_truth.boxes[:, 3]
    if rule == "box":
        return area
    if area_scales is None:
        raise ConfigError("area rule 'input': the network-input size of the images is needed.")
    return area * area_scales[ground_truth.image]


def input_scales(
    image_sizes: Array,
    *,
    shortest_edge: tuple[int, int] | None = None,
    fixed: tuple[int, int] | None = None,
) -> Array:
    """Square network-input pixels per square native pixel.

    Args:
        image_sizes: (N, 2) native width and height.
        shortest_edge: (shortest, longest) edge of Detectron2's `ResizeShortestEdge`:
            `INPUT.MIN_SIZE_TEST`, `INPUT.MAX_SIZE_TEST`.
        fixed: (width, height) of a network that warps every image to one size, as SSD.

    Returns:
        (N,) float64.

    Raises:
        ConfigError: not exactly one of the two is given, or the sizes of images are unknown.
    """
    if (shortest_edge is None) == (fixed is None):
        raise ConfigError("network-input size: give shortest and longest edge, or a fixed size.")
    if np.isnan(image_sizes).any():
        raise ConfigError("network-input size: the annotations lack an image's width or height.")
    width, height = image_sizes.T
    if fixed is not None:
        return fixed[0] * fixed[1] / (width * height)
    shortest, longest = shortest_edge
    scale = np.minimum(shortest / np.minimum(width, height), longest / np.maximum(width, height))
    return scale**2
