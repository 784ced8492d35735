"""COCO annotations of photographs as annotations of their tiles."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scb_d2.errors import ConfigError, DataError

from .windows import Window, tile_windows

__all__ = ["SlicedCoco", "slice_coco"]


@dataclass(frozen=True)
class SlicedCoco:
    """Tiles as a data set, and what was lost.

    Attributes:
        data: COCO detection JSON. An image has `source_image_id`, `source_file_name` and `window`
            (x0, y0, x1, y1 of the photograph) beside COCO's fields, an annotation
            `source_id`.
        never_visible: objects that no tile shows by the share that was asked for.
        dropped_tiles: tiles without an object that were left out.
    """

    data: dict[str, Any]
    never_visible: int
    dropped_tiles: int


def slice_coco(
    data: Mapping[str, Any],
    *,
    size: int,
    overlap: float = 0.2,
    min_visibility: float = 0.5,
    keep_empty: bool = True,
) -> SlicedCoco:
    """Cut the photographs of a data set into tiles.

    A box is clipped to each tile it reaches into. Where less than `min_visibility` of what the
    image shows of it is left it becomes a crowd region, which is neither trained on as an object
    nor counted in evaluation; crowd regions stay what they are. `area` shrinks by the share that
    is left. Segmentations and keypoints are left out.

    Args:
        data: COCO detection JSON with the sizes of its images.
        size: side of a tile, pixels.
        overlap: of neighbouring tiles, in [0, 1).
        min_visibility: in (0, 1].
        keep_empty: whether tiles without an object stay.

    Raises:
        ConfigError: `min_visibility` is out of range.
        DataError: an image has no size.
    """
    if not 0 < min_visibility <= 1:
        raise ConfigError(
            "the visible share (--min-visibility) must be above 0 and at most 1; got "
            f"{min_visibility!r}."
        )
    by_image = defaultdict(list)
    for annotation in data["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    shown: set[int] = set()
    dropped = 0
    for image in data["images"]:
        height, width = image.get("height"), image.get("width")
        if not height or not width:
            raise DataError(
                f"the image {image['id']!r} has no width and height in the annotations."
            )
        size_of = int(width), int(height)
        for window in tile_windows(int(height), int(width), size, overlap):
            parts = [_part(a, window, size_of, min_visibility) for a in by_image[image["id"]]]
            kept = [(a, p) for a, p in zip(by_image[image["id"]], parts, strict=True) if p]
            if not keep_empty and all(part["iscrowd"] for _, part in kept):
                dropped += 1
                continue
            images.append(_tile(image, window, len(images) + 1))
            for annotation, part in kept:
                if not part["iscrowd"]:
                    shown.add(id(annotation))
                new = {"id": len(annotations) + 1, "image_id": images[-1]["id"]}
                annotations.append(part | new | {"source_id": annotation.get("id")})
    never = sum(not a.get("iscrowd") and id(a) not in shown for a in data["annotations"])
    kept_parts = {key: data[key] for key in ("info", "licenses", "categories") if key in data}
    sliced = {**kept_parts, "images": images, "annotations": annotations}
    return SlicedCoco(sliced, never, dropped)


def _tile(image: Mapping[str, Any], window: Window, new_id: int) -> dict[str, Any]:
    x0, y0, x1, y1 = window
    stem, suffix = os.path.splitext(image["file_name"])
    return {
        "id": new_id,
        "file_name": f"{stem}_{x0}_{y0}{suffix}",
        "width": x1 - x0,
        "height": y1 - y0,
        "source_image_id": image["id"],
        "source_file_name": image["file_name"],
        "window": list(window),
    }


def _part(
    annotation: Mapping[str, Any], window: Window, image_size: tuple[int, int], least: float
) -> dict[str, Any] | None:
    """What a tile shows of an object, None for nothing."""
    x, y, width, height = annotation["bbox"]
    # A box may reach out of the image; only what lies within can be seen at all.
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, image_size[0]), min(y + height, image_size[1])
    left, top = max(x0, window[0]), max(y0, window[1])
    right, bottom = min(x1, window[2]), min(y1, window[3])
    if right <= left or bottom <= top:
        return None
    share = (right - left) * (bottom - top) / ((x1 - x0) * (y1 - y0))
    crowd = bool(annotation.get("iscrowd", 0)) or share < least
    part = {
        "category_id": annotation["category_id"],
        "bbox": [left - window[0], top - window[1], right - left, bottom - top],
        "area": min(
            annotation.get("area", width * height) * share, (right - left) * (bottom - top)
        ),
        "iscrowd": int(crowd),
    }
    return part | {key: annotation[key] for key in ("difficult",) if key in annotation}
