"""Where the tiles of an image lie."""

from __future__ import annotations

from scb_d2.errors import ConfigError

__all__ = ["Window", "check_tiles", "tile_windows"]

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, the end not included."""


def check_tiles(size: int, overlap: float, size_name: str, overlap_name: str) -> None:
    """Check what tiles are made from.

    Raises:
        ConfigError: naming the key or flag.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 32:
        raise ConfigError(
            f"{size_name} must be a whole number of at least 32 pixels; got {size!r}."
        )
    if not 0 <= overlap < 1:
        raise ConfigError(
            f"{overlap_name} must be a share of a tile from 0 to below 1; got {overlap!r}."
        )


def tile_windows(height: int, width: int, size: int, overlap: float) -> list[Window]:
    """Square tiles that cover an image, row by row.

    Neighbours overlap by `overlap` of a tile at least; the last one of a row or column ends at the
    image's border. An image that is smaller than a tile along an edge has one tile there, as long
    as the edge.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        size: side of a tile, pixels.
        overlap: in [0, 1).
    """
    return [
        (x, y, min(x + size, width), min(y + size, height))
        for y in _starts(height, size, overlap)
        for x in _starts(width, size, overlap)
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    step = max(1, int(size * (1 - overlap)))
    starts = list(range(0, max(length - size, 0), step))
    return [*starts, max(length - size, 0)]
