"""Images of a user: finding the files and reading them, whatever their format."""

import glob
import os
from collections.abc import Sequence

import numpy as np
from PIL import UnidentifiedImageError

from scb_d2.data import images
from scb_d2.data.reader.images import IMAGE_SUFFIXES, is_image_file, why_unreadable
from scb_d2.errors import DataError

__all__ = ["find_images", "read_image"]


def find_images(sources: Sequence[str]) -> list[str]:
    """The image files that names of files, folders and patterns stand for.

    A folder stands for the images directly in it, see
    :func:`scb_d2.data.reader.images.is_image_file`, in the order of their names. A file that is
    named itself is taken whatever its suffix, even where it does not exist: reading it will say so.

    Raises:
        DataError: if a folder or pattern holds no image.
    """
    found: list[str] = []
    for source in sources:
        if os.path.isdir(source):
            matches = [os.path.join(source, name) for name in sorted(os.listdir(source))]
            matches = [m for m in matches if is_image_file(m)]
            if not matches:
                raise DataError(
                    f"the folder {source} holds no image; looked for {', '.join(IMAGE_SUFFIXES)}."
                )
        elif not os.path.exists(source) and glob.has_magic(source):
            matches = sorted(glob.glob(os.path.expanduser(source), recursive=True))
            matches = [m for m in matches if os.path.isfile(m)]
            if not matches:
                raise DataError(f"no file matches the pattern {source}.")
        else:
            matches = [source]
        found += matches
    return list(dict.fromkeys(found))


def read_image(path: str, pixel_range: Sequence[float] = ()) -> np.ndarray:
    """Read an image by the rule of training, :func:`scb_d2.data.images.read_image`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: if the file is missing or no image.
    """
    try:
        return images.read_image(path, "RGB", pixel_range)
    except FileNotFoundError:
        raise DataError(f"the image {path} does not exist.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image of a known format.") from None
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {why_unreadable(error)}.") from None
