"""A grid of pictures: what was detected against what is there."""

import math
import os
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scb_d2.utils.files import atomic_write

from .palette import GROUND_TRUTH, INK, class_colour

__all__ = ["write_picture_grid"]

_PANEL_INCHES = 4.0


def write_picture_grid(
    path: str | os.PathLike[str],
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    class_names: Sequence[str],
    title: str,
    columns: int = 4,
) -> None:
    """Write pictures with ground truth and detections as one PNG.

    Args:
        path: the file.
        pictures: (H, W, 3) uint8 RGB, from
            :func:`scb_d2.visualization.boxes.draw_instances`.
        captions: a line above each.
        class_names: the classes for the legend, at most six are named there.
        title: the line above all.
        columns: pictures side by side.
    """
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    tallest = max((picture.shape[0] / picture.shape[1] for picture in pictures), default=1.0)
    figure = Figure(
        figsize=(_PANEL_INCHES * columns, (_PANEL_INCHES * tallest + 0.3) * rows + 1.0),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, caption in zip(axes.flat, pictures, captions, strict=False):
        axis.imshow(picture)
        axis.set_title(caption, fontsize=10, color=INK)
    handles = [Line2D([], [], color=GROUND_TRUTH, linestyle="--", lw=2, label="ground truth")]
    handles += [
        Line2D([], [], color=class_colour(i), lw=2, label=f"detected {name}, score 0 to 1")
        for i, name in enumerate(class_names[:6])
    ]
    figure.suptitle(title, color=INK, fontsize=12)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
