"""Pictures of matched and unmatched objects on the images of a match report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from scb_d2.data.images import read_image
from scb_d2.visualization.boxes import draw_boxes

from .tally import ImageMatches

__all__ = ["draw_samples"]

# Green and red that differ in lightness; unmatched boxes are dashed too.
_MATCHED, _UNMATCHED = "#00D68F", "#E8211D"
_MAX_LABELS = 40


def draw_samples(samples: Sequence[ImageMatches], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Draw each image with its objects: matched green and solid, unmatched red and dashed.

    Args:
        samples: images whose files may be absent.
        folder: an existing folder.

    Returns:
        File name to caption, and a note for the images that could not be drawn.
    """
    drawn, missing = {}, []
    for sample in samples:
        if not sample.file_name or not os.path.isfile(sample.file_name):
            missing.append(str(sample.image_id))
            continue
        try:
            pixels = read_image(sample.file_name)
        except OSError:
            missing.append(str(sample.image_id))
            continue
        name = f"matches_sample_{len(drawn) + 1}.png"
        _draw(sample, pixels, folder / name)
        unmatched = int((sample.counts == 0).sum())
        drawn[name] = (
            f"Image {sample.image_id}: {len(sample.counts)} objects, {unmatched} of them unmatched "
            "(red, dashed); matched ones green with their number of matches."
        )
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} sample image(s) are not drawn, since their files cannot be read: "
            f"{', '.join(missing)}."
        )
    return drawn, notes


def _draw(sample: ImageMatches, pixels: np.ndarray, path: Path) -> None:
    height, width = pixels.shape[:2]
    scale = 8.0 / max(height, width)
    figure = Figure(figsize=(width * scale, height * scale + 0.3), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(pixels)
    axes.set_axis_off()
    rotated = sample.native_boxes.shape[1] == 5
    shift = [0.5, 0.5, 0, 0, 0] if rotated else [0.5] * 4  # pixels are drawn around their centres
    for i, box in enumerate(sample.native_boxes):
        matches = int(sample.counts[i])
        color = _MATCHED if matches else _UNMATCHED
        draw_boxes(axes, [box - shift], color, 1.6, "-" if matches else "--")
        if len(sample.counts) <= _MAX_LABELS or not matches:
            axes.text(
                box[0],
                box[1] - 1,
                f"{matches}",
                fontsize=7,
                color="black",
                verticalalignment="bottom",
                clip_on=True,
                bbox={"facecolor": color, "edgecolor": "none", "pad": 0.8},
            )
    axes.set_title("matched anchors per object; red dashed: none", fontsize=9)
    figure.savefig(path, dpi=125)
