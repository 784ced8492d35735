"""Sizes of image files whose annotations give none."""

from __future__ import annotations

import os

from PIL import ExifTags, Image

__all__ = ["header_size", "orientation"]

_QUARTER_TURNS = (5, 6, 7, 8)


def header_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image file, turned as its EXIF tag asks, without decoding it.

    Raises:
        OSError: the file is missing or no image; as Pillow, also SyntaxError and ValueError.
    """
    with Image.open(path) as image:
        width, height = image.size
        return (height, width) if orientation(image) in _QUARTER_TURNS else (width, height)


def orientation(image: Image.Image) -> int | None:
    """The EXIF orientation of an image that is open."""
    # Pillow decodes a whole PNG to look for EXIF data behind the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return None
    return image.getexif().get(ExifTags.Base.Orientation)
