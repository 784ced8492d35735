"""Look at image files without decoding them: readable, of the annotated size, turned by EXIF."""

from collections.abc import Mapping
from itertools import islice

from PIL import ExifTags, Image, UnidentifiedImageError

from .report import Severity, Tally

__all__ = ["IMAGE_RULES", "check_images"]

IMAGE_RULES: dict[str, tuple[Severity, str]] = {
    "unreadable-image": ("error", "names image files that cannot be read"),
    "other-size": ("error", "has another width or height than the image files, turned by EXIF"),
    "exif-rotation": (
        "warning",
        "names image files that an EXIF tag turns or mirrors, as Detectron2 does before training",
    ),
}
"""Rules of :func:`check_images`, to be part of those of its tally."""

_PLAIN, _QUARTER_TURNS = (None, 1), (5, 6, 7, 8)


def check_images(
    sizes: Mapping[str, tuple[float, float]], tally: Tally, limit: int | None = None
) -> None:
    """Read the headers of image files and compare them with the annotations.

    Args:
        sizes: path to annotated (width, height) in pixels, of files that exist.
        tally: gets what is found; its rules hold :data:`IMAGE_RULES`.
        limit: look at this many files only, evenly spread; None: at all.
    """
    step = 1 if limit is None else -(-len(sizes) // max(limit, 1))
    for path, annotated in islice(sizes.items(), 0, None, step or 1):
        try:
            with Image.open(path) as image:
                size, orientation = image.size, _orientation(image)
        except UnidentifiedImageError:
            tally.add("unreadable-image", f"{path}: no image of a known format")
            continue
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            tally.add("unreadable-image", f"{path}: {' '.join(reason.split()).rstrip('.')}")
            continue
        if orientation in _QUARTER_TURNS:
            size = size[::-1]
        if tuple(size) != tuple(annotated):
            found = f"{size[0]} x {size[1]}"
            tally.add("other-size", f"{path}: {found}, not {annotated[0]:g} x {annotated[1]:g}")
        if orientation not in _PLAIN:
            tally.add("exif-rotation", f"{path}: orientation {orientation}")


def _orientation(image: Image.Image) -> int | None:
    # Pillow decodes a whole PNG to look for EXIF data behind the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return None
    return image.getexif().get(ExifTags.Base.Orientation)
