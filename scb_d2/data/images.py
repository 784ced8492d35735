"""The one way an image becomes numbers: for training, evaluation and prediction alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from detectron2.data import transforms as T
from detectron2.data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy
from detectron2.utils.file_io import PathManager
from PIL import Image

from scb_d2.errors import ConfigError

from .reader.images import one_kind_of_error, refuse_pipe

__all__ = ["check_pixel_range", "is_deep", "read_image", "vanishes"]


def read_image(
    path: str, image_format: str = "RGB", pixel_range: Sequence[float] = ()
) -> np.ndarray:
    """Read an image as Detectron2 does, turned as its EXIF tag asks; deep ones are scaled.

    Transparency is dropped and palettes are resolved, as in Detectron2. Grey values of 16 or 32
    bits or floating point, which Detectron2 cuts off at 255, are scaled to 0 to 255.

    Args:
        path: the file.
        image_format: ``INPUT.FORMAT``: RGB, BGR, L or another of Pillow's modes.
        pixel_range: ``INPUT.PIXEL_RANGE``: the values that become 0 and 255 in deep images, others
            are cut off; () takes the least and the largest value of each image.

    Returns:
        (H, W, C) array, uint8 for RGB and BGR.

    Raises:
        OSError: the file is missing or no whole image.
    """
    refuse_pipe(path)
    with PathManager.open(path, "rb") as file, one_kind_of_error():
        image = _apply_exif_orientation(Image.open(file))
        image.load()
    if is_deep(image.mode):
        image = _scaled(np.asarray(image, dtype=np.float64), pixel_range)
    return convert_PIL_to_numpy(image, image_format)


def is_deep(mode: str) -> bool:
    """Whether a mode of Pillow holds more than 8 bits a channel."""
    return mode.startswith("I") or mode == "F"


def check_pixel_range(value: Any, key: str = "INPUT.PIXEL_RANGE") -> tuple[float, ...]:
    """A pixel range, if it is one.

    Raises:
        ConfigError: naming the key.
    """
    sound = isinstance(value, Sequence) and not isinstance(value, str) and len(value) in (0, 2)
    sound = sound and all(isinstance(v, int | float) and np.isfinite(v) for v in value)
    if sound and (not value or value[0] < value[1]):
        return tuple(value)
    raise ConfigError(
        f"{key} must be () or two ascending numbers, the values that become 0 and 255; got "
        f"{value!r}."
    )


def vanishes(size: tuple[int, int], augmentations: Iterable[Any]) -> bool:
    """Whether resizing leaves nothing of an image, since it is so much longer than wide.

    Args:
        size: height and width in pixels.
        augmentations: of which Detectron2's ``ResizeShortestEdge`` is looked at.
    """
    for augmentation in augmentations:
        if isinstance(augmentation, T.AugmentationList):
            if vanishes(size, augmentation.augs):
                return True
        elif isinstance(augmentation, T.ResizeShortestEdge) and augmentation.short_edge_length:
            edge = min(augmentation.short_edge_length)
            shape = T.ResizeShortestEdge.get_output_shape(*size, edge, augmentation.max_size)
            if edge and min(shape) < 1:
                return True
    return False


def _scaled(values: np.ndarray, pixel_range: Sequence[float]) -> Image.Image:
    finite = values[np.isfinite(values)]
    low, high = pixel_range or ((finite.min(), finite.max()) if finite.size else (0.0, 0.0))
    values = np.nan_to_num(values, nan=low)
    scale = 255.0 / (high - low) if high > low else 0.0
    return Image.fromarray(np.rint((values.clip(low, high) - low) * scale).astype(np.uint8))
