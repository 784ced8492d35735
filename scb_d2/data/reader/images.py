"""Image files: their paths, and sizes that annotations do not give."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import unquote

from PIL import ExifTags, Image

from .tally import Tally

__all__ = [
    "IMAGE_SUFFIXES",
    "Header",
    "header_size",
    "image_path",
    "is_image_file",
    "one_kind_of_error",
    "read_header",
    "refuse_pipe",
    "why_unreadable",
]

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pgm", ".png",
    ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""By which images are found in folders, also those that Pillow may not read: they are named."""
_QUARTER_TURNS = (5, 6, 7, 8)


class Header(NamedTuple):
    """What an image file says of itself before its pixels.

    Attributes:
        size: width and height, turned as its EXIF tag asks.
        mode: Pillow's.
        orientation: the EXIF tag's number, None where there is none.
    """

    size: tuple[int, int]
    mode: str
    orientation: int | None


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of an image file, without decoding it.

    Raises:
        OSError: the file is missing, no image or no file.
    """
    with one_kind_of_error():
        refuse_pipe(path)
        with Image.open(path) as image:
            turned = _orientation(image)
            width, height = image.size
            size = (height, width) if turned in _QUARTER_TURNS else (width, height)
            return Header(size, image.mode, turned)


def header_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height as :func:`read_header` gives them, which raises the same."""
    return read_header(path).size


@contextmanager
def one_kind_of_error() -> Iterator[None]:
    """Let Pillow raise ``OSError`` alone for files that are broken.

    Its decoders raise SyntaxError, ValueError, RuntimeError and others, and MemoryError for
    absurd numbers.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


def why_unreadable(error: OSError) -> str:
    """What an error of a file says without its number and path, as the end of a sentence."""
    return " ".join((error.strerror or str(error)).split()).rstrip(".")


def refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Refuse what opening may wait for, or read from, without end.

    Raises:
        OSError: the path is a pipe, a socket or a device. One that does not exist passes: opening
            it says so.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device", str(path))


def _orientation(image: Image.Image) -> int | None:
    """The EXIF orientation of an image that is open."""
    # Pillow decodes a whole PNG to look for EXIF data behind the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return None
    return image.getexif().get(ExifTags.Base.Orientation)


def image_path(root: str, file_name: str, tally: Tally) -> str:
    """The path of an image file, also where its name is spelt for Windows or for an address.

    Where there is no such file backslashes are taken for slashes, and ``%20`` for a space if that
    names a file.

    Args:
        root: folder that the name is relative to.
        file_name: as the data set has it.
        tally: is told of backslashes and of escaped letters.
    """
    path = os.path.join(root, file_name)
    if not ("\\" in file_name or "%" in file_name) or os.path.exists(path):
        return path
    if "\\" in file_name:
        tally.add("backslash", repr(file_name))
        path = os.path.join(root, os.path.normpath(file_name.replace("\\", "/")))
    meant = os.path.join(root, os.path.normpath(unquote(file_name.replace("\\", "/"))))
    if "%" not in file_name or not os.path.isfile(meant):
        return path
    tally.add("escaped-name", repr(file_name))
    return meant


def is_image_file(path: str) -> bool:
    """Whether a path in a folder stands for an image, by its suffix.

    Hidden files do not, such as those that macOS leaves beside images (``._1.jpg``), nor do
    folders, nor pipes, which are waited for without end. A link that leads nowhere does.
    """
    is_hidden = os.path.basename(path).startswith(".")
    if is_hidden or not path.lower().endswith(IMAGE_SUFFIXES):
        return False
    return os.path.isfile(path) or not os.path.exists(path)
