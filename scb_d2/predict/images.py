"""Images of a user: finding the files and reading them, whatever their format."""

import glob
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from scb_d2.errors import DataError

__all__ = ["find_images", "read_image"]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_images(sources: Sequence[str]) -> list[str]:
    """The image files that names of files, folders and patterns stand for.

    A folder stands for the images directly in it, by suffix and in the order of their names. A
    file that is named itself is taken whatever its suffix, even where it does not exist: reading
    it will say so.

    Raises:
        DataError: if a folder or pattern holds no image.
    """
    found: list[str] = []
    for source in sources:
        if os.path.isdir(source):
            matches = [os.path.join(source, name) for name in sorted(os.listdir(source))]
            matches = [m for m in matches if m.lower().endswith(_SUFFIXES)]
            if not matches:
                raise DataError(
                    f"the folder {source} holds no image; looked for {', '.join(_SUFFIXES)}."
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


def read_image(path: str) -> np.ndarray:
    """Read an image, turned as its EXIF tag asks.

    As in Detectron2's own data loader transparency is dropped. Grey values of 16 or 32 bits, which
    that loader cuts off at 255, are stretched from the image's minimum and maximum to 0 and 255.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: if the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I") or image.mode == "F":
                image = _stretched(np.asarray(image, dtype=np.float64))
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"the image {path} does not exist.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image of a known format.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"the image {path} cannot be read: {reason.rstrip('.')}.") from None


def _stretched(values: np.ndarray) -> Image.Image:
    values = np.nan_to_num(values)
    low, high = values.min(), values.max()
    scale = 255.0 / (high - low) if high > low else 0.0
    return Image.fromarray(np.rint((values - low) * scale).astype(np.uint8))
