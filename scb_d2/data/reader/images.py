"""Image files: their paths, and sizes that annotations do not give."""

from __future__ import annotations

import os

from PIL import ExifTags, Image

from .tally import Tally

__all__ = ["header_size", "image_path", "orientation"]

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


def image_path(root: str, file_name: str, tally: Tally) -> str:
    """The path of an image file; backslashes are taken for slashes where there is no such file.

    Args:
        root: folder that the name is relative to.
        file_name: as the data set has it.
        tally: is told of backslashes.
    """
    path = os.path.join(root, file_name)
    if "\\" not in file_name or os.path.exists(path):
        return path
    tally.add("backslash", repr(file_name))
    return os.path.join(root, os.path.normpath(file_name.replace("\\", "/")))
