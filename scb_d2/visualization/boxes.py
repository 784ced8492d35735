"""Detections, and ground truth if wanted, drawn on one image."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances
from detectron2.utils.visualizer import VisImage, Visualizer
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from .glyphs import drawable
from .palette import GROUND_TRUTH, class_colour

__all__ = ["draw_boxes", "draw_instances"]

_MIN_PICTURE_SIDE = 640
_MAX_UPSCALE = 8.0
_LINE_WIDTH = 2.0
_FONT_SIZE = 8.0


def draw_boxes(
    axes: Axes,
    boxes: Iterable[Sequence[float]],
    colour: Any,
    line_width: float,
    line_style: Any = "solid",
    outline: str = "white",
    outline_width: float = 1.0,
) -> None:
    """Draw boxes that stand out on any picture.

    Args:
        axes: whose units are the image's pixels.
        boxes: XYXY; of rotated ones centre x, y, width, height, angle in degrees.
        colour: of matplotlib's kind, as ``line_style``.
        line_width: in points, as ``outline_width``.
        line_style: of the line inside its outline.
        outline: colour around the line.
        outline_width: how much wider the outline is.
    """
    for box in boxes:
        if len(box) == 5:
            x, y, width, height, angle = box
            corner = (x - width / 2, y - height / 2)
        else:
            corner, (width, height), angle = box[:2], (box[2] - box[0], box[3] - box[1]), 0.0
        axes.add_patch(
            Rectangle(
                corner,
                width,
                height,
                # Detectron2 turns anticlockwise on the screen, where y points down.
                angle=-angle,
                rotation_point="center",
                fill=False,
                edgecolor=colour,
                linewidth=line_width,
                linestyle=line_style,
                path_effects=[withStroke(linewidth=line_width + outline_width, foreground=outline)],
            )
        )


def draw_instances(
    image: np.ndarray,
    predictions: Instances,
    class_name: Callable[[int], str],
    gt_boxes: np.ndarray | None = None,
    min_side: int = _MIN_PICTURE_SIDE,
) -> np.ndarray:
    """Draw boxes with class and score (and masks and keypoints, where there are any).

    Lines and letters have the same size on every picture: small images are enlarged, so that
    their small objects can be seen.

    Args:
        image: (H, W, 3) uint8 RGB.
        predictions: with ``pred_boxes``, ``scores`` and ``pred_classes``, in the image's pixels,
            on the CPU.
        class_name: name of a class index.
        gt_boxes: (G, 4) ground truth to draw dashed, XYXY, the image's pixels.
        min_side: the longer side of the picture in pixels is at least this.

    Returns:
        (H', W', 3) uint8 RGB picture.
    """
    height, width = image.shape[:2]
    scale = min(max(min_side / max(height, width), 1.0), _MAX_UPSCALE)
    visualizer = Visualizer(image, scale=scale)
    classes = predictions.pred_classes.tolist()
    colours = [to_rgb(class_colour(c)) for c in classes]
    if predictions.has("pred_masks") or predictions.has("pred_keypoints"):
        visualizer.overlay_instances(
            masks=np.asarray(predictions.pred_masks) if predictions.has("pred_masks") else None,
            keypoints=predictions.get_fields().get("pred_keypoints"),
            assigned_colors=colours,
            alpha=0.4,
        )
    # Lines stay as thick where a large photograph is shown reduced.
    thickness = max(1.0, max(height, width) * scale / 1000)
    axes, line = visualizer.output.ax, _LINE_WIDTH * thickness
    outline = {"outline": "black", "outline_width": 1.2 * thickness}
    if gt_boxes is not None:
        draw_boxes(axes, gt_boxes, GROUND_TRUTH, line, (0, (3, 2)), **outline)
    boxes = predictions.pred_boxes.tensor.numpy()
    scores = predictions.scores.tolist()
    for i in np.argsort(scores):
        draw_boxes(axes, boxes[i : i + 1], colours[i], line, **outline)
        name, font = drawable(class_name(classes[i]), classes[i])
        text = f"{name} {scores[i]:.2f}"
        _draw_label(visualizer.output, boxes[i], text, colours[i], thickness, font)
    return visualizer.output.get_image()


def _draw_label(
    output: VisImage, box: np.ndarray, text: str, colour, thickness: float, font: str | None
) -> None:
    size = _FONT_SIZE * thickness
    letter_height = 1.6 * size * output.dpi / 72 / output.scale
    letter_width = 0.62 * size * output.dpi / 72 / output.scale
    x1, y1, _, y2 = box
    x = max(0.0, min(x1, output.width - letter_width * len(text)))
    above = y1 >= letter_height
    y = y1 if above else min(y2, output.height - letter_height)
    luminance = math.fsum(c * w for c, w in zip(colour, (0.3, 0.59, 0.11), strict=True))
    output.ax.text(
        x,
        y,
        text,
        size=size,
        font=Path(font) if font else None,
        color="black" if luminance > 0.45 else "white",
        verticalalignment="bottom" if above else "top",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8 * thickness, "alpha": 0.85},
    )
