"""COCO JSON as most tools write it, decoded by msgspec straight into typed rows.

Nothing is decided here about any other file: what is missing, of another type, NaN, in another
encoding or not JSON at all gives None, and the readers that look at every value say what it means.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Literal

import msgspec

__all__ = ["PlainAnnotation", "PlainCoco", "plain_coco", "plain_results"]

Box = tuple[float, float, float, float]


class PlainImage(msgspec.Struct, gc=False):
    """An image; of unknown size where that is absent, null or 0."""

    id: int | str
    file_name: str | None = None
    width: float | None = None
    height: float | None = None


class PlainCategory(msgspec.Struct, gc=False):
    """A category."""

    id: int | str
    name: str


class PlainAnnotation(msgspec.Struct, gc=False):
    """An object; masks and further keys are passed over, keypoints and `ignore` flags refused."""

    id: int | str
    image_id: int | str
    category_id: int | str
    bbox: Box
    area: float
    iscrowd: Literal[0, 1] = 0
    difficult: Literal[0, 1] = 0
    ignore: Literal[0] = 0
    keypoints: msgspec.UnsetType = msgspec.UNSET


class PlainCoco(msgspec.Struct, gc=False):
    """The content of an annotation file."""

    images: list[PlainImage]
    annotations: list[PlainAnnotation]
    categories: list[PlainCategory]


class _PlainResult(msgspec.Struct, gc=False):
    # A whole number with a point is no plain id, but told apart: sentences show it as it is spelt.
    image_id: int | float | str
    category_id: int | float | str
    bbox: Box
    score: float


def plain_coco(content: bytes) -> PlainCoco | None:
    """The content of an annotation file; None where it is not plain."""
    return _decoded(content, PlainCoco)


def plain_results(content: bytes) -> dict[str, list[Any]] | None:
    """The columns of a results file, by key; None where it is not plain."""
    rows = _decoded(content, list[_PlainResult])
    if rows is None:
        return None
    return {key: list(map(attrgetter(key), rows)) for key in _PlainResult.__struct_fields__}


def _decoded(content: bytes, kind: Any) -> Any:
    try:
        # As text, because msgspec does not look whether what it passes over is UTF-8.
        return msgspec.json.decode(content.decode(), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
