"""Side-by-side pictures of an image: baseline and candidate, what was gained and what was lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scb_d2.data.images import read_image
from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.visualization.boxes import draw_boxes
from scb_d2.visualization.palette import GROUND_TRUTH, SERIES

__all__ = ["draw_change"]

Array = NDArray[Any]

_GAINED, _LOST, _BOTH = GROUND_TRUTH, SERIES[1], SERIES[0]
_FALSE = SERIES[3]


def draw_change(
    ground_truth: GroundTruth,
    image: int,
    detections: tuple[Detections, Detections],
    false_positives: tuple[Array, Array],
    found: Array,
    image_root: Path | None,
) -> Figure:
    """Draw the image twice: objects found by both blue, gained green, lost red and dashed.

    Args:
        ground_truth: G objects.
        image: index of the image.
        detections: of baseline and candidate.
        false_positives: (D,) bool each, which of their detections are kept and find nothing.
        found: (2, G) bool.
        image_root: folder of the images; without it boxes are drawn on grey.
    """
    pixels = _pixels(ground_truth, image, image_root)
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(11, 11 * height / width / 2 + 1.1), layout="constrained")
    here = (ground_truth.image == image) & ~ground_truth.ignored
    gained, lost = here & found[1] & ~found[0], here & found[0] & ~found[1]
    both = here & found.all(0)
    for axes, run, false, name, changed in zip(
        figure.subplots(1, 2),
        detections,
        false_positives,
        ("baseline", "candidate"),
        ((lost, _LOST, "--"), (gained, _GAINED, "-")),
        strict=True,
    ):
        axes.imshow(pixels)
        axes.axis("off")
        wrong = (run.image == image) & false
        mask, colour, style = changed
        draw_boxes(axes, _xyxy(run.boxes[wrong]), _FALSE, 1.0, ":")
        draw_boxes(axes, _xyxy(ground_truth.boxes[both]), _BOTH, 1.2)
        draw_boxes(axes, _xyxy(ground_truth.boxes[mask]), colour, 2.4, style)
        number = int(found[int(name == "candidate")][here].sum())
        axes.set_title(
            f"{name}: {number} of {int(here.sum())} objects found, {int(wrong.sum())} false",
            fontsize=10,
        )
    figure.legend(
        handles=[
            Line2D([], [], color=_BOTH, label="found by both"),
            Line2D([], [], color=_LOST, linestyle="--", lw=2.4, label="lost: baseline only"),
            Line2D([], [], color=_GAINED, lw=2.4, label="gained: candidate only"),
            Line2D([], [], color=_FALSE, linestyle=":", label="false positive"),
        ],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return figure


def _xyxy(boxes: Array) -> Array:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _pixels(ground_truth: GroundTruth, image: int, image_root: Path | None) -> Array:
    """RGB pixels, or plain grey of the image's size where no photograph can be read."""
    name = ground_truth.file_names[image]
    with suppress(OSError):
        if name:
            return read_image(str((image_root or Path()) / name))
    size = ground_truth.image_sizes[image]
    if np.isnan(size).any():
        boxes = ground_truth.boxes[ground_truth.image == image]
        size = (boxes[:, :2] + boxes[:, 2:]).max(0)
    width, height = (max(int(value), 1) for value in size)
    return np.full((height, width, 3), 235, dtype=np.uint8)
