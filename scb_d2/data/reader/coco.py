"""Read COCO detection JSON into canonical records."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from scb_d2.errors import DataError
from scb_d2.utils.garbage import collection_paused

from .coco_annotations import AnnotationReader
from .images import header_size, image_path, why_unreadable
from .records import READING_RULES, Records
from .tally import Tally
from .values import entry_id, id_order, is_number, number

__all__ = ["parse_coco", "read_categories", "read_coco", "read_json"]

_LISTS = "an object with the lists 'images', 'annotations' and 'categories'"


def read_coco(
    path: str | Path, image_root: str | Path | None = None, *, with_images: bool = True
) -> Records:
    """Read a COCO JSON file.

    Args:
        path: the file; an address of Detectron2's path manager is fetched.
        image_root: folder that ``file_name`` is relative to; by default names stay as they are.
        with_images: whether images need a file name and a size.

    Raises:
        DataError: if the file is missing, not JSON or not in COCO's detection format. Faults of
            single entries are left to :meth:`Records.refuse_faults`.
    """
    with collection_paused():
        content = read_json(path)
        has_mark = _has_mark(path)
        return parse_coco(
            content, str(path), image_root, with_images=with_images, has_mark=has_mark
        )


def read_json(
    path: str | Path,
    what: str = "annotation file",
    loads: Callable[[bytes], Any] = json.loads,
) -> Any:
    """The content of a JSON file, in any encoding of Unicode, with or without byte order mark.

    Args:
        path: the file.
        what: what sentences call it.
        loads: the parser.

    Raises:
        DataError: if the file is missing, unreadable or not JSON.
    """
    try:
        content = Path(PathManager.get_local_path(str(path))).read_bytes()
        return loads(content)
    except FileNotFoundError as error:
        raise DataError(f"The {what} {path} does not exist.") from error
    except OSError as error:
        raise DataError(f"The {what} {path} cannot be read: {why_unreadable(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"The {what} {path} is not JSON: {error}.") from error


def read_categories(path: str | Path) -> tuple[list[str], list[int | str]]:
    """Names and ids of a file's categories, ordered by id.

    Raises:
        DataError: as :func:`read_coco`; also for malformed categories.
    """
    content = read_json(path)
    tally = Tally(f"The annotation file {path}", READING_RULES)
    categories = content.get("categories") if isinstance(content, Mapping) else None
    if not isinstance(categories, list) or not all(isinstance(c, dict) for c in categories):
        raise DataError(f"The annotation file {path} is not COCO JSON: it must be {_LISTS}.")
    names = _categories(categories, tally)
    Records(tally.subject, [], [], [], tally).refuse_faults()
    return list(names.values()), list(names)


def parse_coco(
    content: Any,
    name: str,
    image_root: str | Path | None = None,
    *,
    with_images: bool = True,
    has_mark: bool = False,
) -> Records:
    """As :func:`read_coco`, of a file's content; ``name`` is the file in sentences."""
    subject = f"The annotation file {name}"
    _check_lists(content, subject)
    tally = Tally(subject, READING_RULES)
    if has_mark:
        tally.add("byte-order-mark", os.path.basename(name))
    names = _categories(content["categories"], tally)
    images = _images(content["images"], image_root, tally, with_images)
    annotations = content.get("annotations", [])
    # COCO's own "minival" files repeat annotation ids, and Detectron2 lets those pass.
    reader = AnnotationReader(images, names, tally, unique_ids="minival" not in name)
    for number_, annotation in enumerate(annotations, start=1):
        reader.add(annotation, number_)
    reader.complete_keypoints()
    return Records(
        subject=subject,
        class_names=list(names.values()),
        category_ids=list(names),
        images=images,
        tally=tally,
        image_root=None if image_root is None else str(image_root),
        has_annotations="annotations" in content,
        keypoint_names=_keypoint_names(content["categories"]),
    )


def _has_mark(path: str | Path) -> bool:
    with open(PathManager.get_local_path(str(path)), "rb") as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _found(value: Any) -> str:
    """What is there in place of a list of objects."""
    if not isinstance(value, list):
        return f"is {_kind(value)}"
    place, item = next((n, x) for n, x in enumerate(value) if not isinstance(x, dict))
    return f"holds {_kind(item)} at place {place}"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _check_lists(content: Any, subject: str) -> None:
    if not isinstance(content, Mapping):
        raise DataError(f"{subject} is not COCO JSON: it must be {_LISTS}, not {_kind(content)}.")
    for key in ("images", "categories", "annotations"):
        value = content.get(key)
        # The files of COCO's test sets have no annotations.
        if value is None and key == "annotations" and key not in content:
            continue
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            found = _found(value) if key in content else "is missing"
            raise DataError(
                f"{subject} is not COCO JSON: {key!r} must be a list of objects and {found}."
            )
    for key in ("images", "categories"):
        if not content[key]:
            raise DataError(f"{subject} has no {key}: the list {key!r} is empty.")


def _categories(categories: list[dict], tally: Tally) -> dict[int | str, str]:
    """Category id to name, ordered by id, of the categories that are complete."""
    names: dict[int | str, str] = {}
    for category in categories:
        key, name = entry_id(category.get("id")), category.get("name")
        if is_number(name):
            tally.add("number-name", f"category {key!r} named {name!r}")
            name = str(name)
        if key is None or not isinstance(name, str):
            tally.add("incomplete-category", f"category {category.get('id')!r} with name {name!r}")
        elif key in names:
            tally.add("duplicate-category-id", f"category {key!r}")
        else:
            names[key] = name
    return {key: names[key] for key in sorted(names, key=id_order)}


def _keypoint_names(categories: list[dict]) -> tuple[str, ...]:
    named = [c["keypoints"] for c in categories if isinstance(c.get("keypoints"), list)]
    return tuple(map(str, named[0])) if named else ()


def _images(
    images: list[dict], image_root: Any, tally: Tally, with_images: bool
) -> list[dict[str, Any]]:
    """The images that are complete, ordered by id."""
    root = "" if image_root is None else str(image_root)
    records: dict[int | str, dict[str, Any]] = {}
    for image in images:
        key, file_name = entry_id(image.get("id")), image.get("file_name")
        width, height = number(image.get("width")), number(image.get("height"))
        named = isinstance(file_name, str) and file_name != ""
        path = image_path(root, file_name if named else "", tally)
        if with_images and named and not (image.get("width") and image.get("height")):
            width, height = _size_of_file(path, tally)
        sized = width and height and min(width, height) > 0
        if key is None or (with_images and not (named and sized)):
            shown = f"{image.get('width')!r} x {image.get('height')!r}"
            example = f"image {image.get('id')!r} with file_name {file_name!r}, {shown}"
            tally.add("incomplete-image", example)
            continue
        if key in records:
            tally.add("duplicate-image-id", f"image {key!r}")
            continue
        if isinstance(image.get("width"), str) or isinstance(image.get("height"), str):
            tally.add("text-number", f"the size of image {key!r}")
        records[key] = {
            "file_name": path,
            "height": height,
            "width": width,
            "image_id": key,
            "annotations": [],
        }
    return [records[key] for key in sorted(records, key=id_order)]


def _size_of_file(path: str, tally: Tally) -> tuple[int | None, int | None]:
    """Width and height, where the annotations give none."""
    try:
        size = header_size(path)
    except OSError:
        return None, None
    tally.add("size-from-image", path)
    return size
