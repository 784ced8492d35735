"""Check a COCO JSON annotation file and its image folder without decoding any image."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scb_d2.errors import DataError

from .images import IMAGE_RULES, check_images
from .report import DatasetReport, Finding, Severity, Tally

__all__ = ["check_coco", "missing_files", "read_coco_json"]

# A box may leave its image by rounding; beyond this many pixels it is reported.
_OUTSIDE_TOLERANCE = 1.0

# Whole numbers beyond this are no coordinates, and floats cannot hold them.
_LARGEST_INTEGER = 2**53

_RULES: dict[str, tuple[Severity, str]] = {
    "incomplete-image": (
        "error",
        "has images without an id, a file_name, a width > 0 or a height > 0",
    ),
    "duplicate-image-id": ("error", "has image ids that are used more than once"),
    "mixed-image-ids": ("error", "has image ids of which some are numbers and some are text"),
    "path-outside-root": ("error", "names image files that lead out of the image folder"),
    "missing-image": ("error", "names image files that do not exist"),
    **IMAGE_RULES,
    "incomplete-category": ("error", "has categories without a whole-numbered id or a name"),
    "duplicate-category-id": ("error", "has category ids that are used more than once"),
    "duplicate-category-name": ("warning", "has category names that are used more than once"),
    "incomplete-annotation": (
        "error",
        "has annotations without an id, an image_id, a category_id or a bbox",
    ),
    "duplicate-annotation-id": ("error", "has annotation ids that are used more than once"),
    "unknown-image": ("error", "has annotations of an image_id that is not among its images"),
    "unknown-category": (
        "error",
        "has annotations of a category_id that is not among its categories",
    ),
    "malformed-box": ("error", "has boxes that are not four finite numbers [x, y, width, height]"),
    "negative-box": ("error", "has boxes of negative width or height"),
    "ignore-flag": (
        "error",
        "has annotations with the flag 'ignore', which Detectron2 does not know",
    ),
    "not-evaluable": (
        "error",
        "has annotations without the 'area' or 'iscrowd' that COCO's evaluation needs",
    ),
    "annotation-id-zero": (
        "warning",
        "has an annotation id 0, for which COCO's evaluation counts a hit as a miss",
    ),
    "empty-box": (
        "warning",
        "has boxes of zero width or height, which are dropped from training as Detectron2 does",
    ),
    "box-outside-image": ("warning", "has boxes that leave their image by more than a pixel"),
    "area-mismatch": (
        "warning",
        "has areas that are not positive or exceed the box, so that sizes are counted wrongly",
    ),
    "empty-image": ("note", "has images without an annotation"),
    "crowd": ("note", "has crowd regions, which are not trained on"),
    "unused-category": ("note", "has categories without an annotation"),
}


def read_coco_json(path: str | Path) -> dict[str, Any]:
    """Read a COCO JSON file and check that its three lists are there.

    Raises:
        DataError: if the file is missing, not JSON or not in COCO's detection format.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError as error:
        raise DataError(f"The annotation file {path} does not exist.") from error
    except OSError as error:
        raise DataError(f"The annotation file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"The annotation file {path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"The annotation file {path} is not COCO JSON: it must be an object with the lists "
            f"'images', 'annotations' and 'categories', not a {type(content).__name__}."
        )
    for key in ("images", "categories", "annotations"):
        value = content.get(key)
        # The files of COCO's test sets have no annotations.
        if value is None and key == "annotations" and key not in content:
            continue
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            found = "is missing" if key not in content else "is something else"
            raise DataError(
                f"The annotation file {path} is not COCO JSON: {key!r} must be a list of objects "
                f"and {found}."
            )
    for key in ("images", "categories"):
        if not content[key]:
            raise DataError(f"The annotation file {path} has no {key}: the list {key!r} is empty.")
    return content


def check_coco(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    *,
    training: bool = True,
    evaluation: bool = True,
    expected_classes: Sequence[str] | None = None,
    headers: int | None = 0,
) -> DatasetReport:
    """Check a COCO-JSON data set; nothing is raised, everything is reported.

    Args:
        name: registered name, for the report.
        json_file: the annotation file.
        image_root: folder of the images.
        training: whether the data set is to be trained on, so must have objects.
        evaluation: whether it is to be evaluated on, so needs COCO's ``area`` and ``iscrowd``.
        expected_classes: class names that the file must have, in the order of their ids.
        headers: of how many image files, evenly spread, the header is read; None: of all. That
            the files exist is checked of all in any case.
    """
    try:
        content = read_coco_json(json_file)
    except DataError as error:
        return DatasetReport(name, findings=[Finding("error", "not-coco", str(error))])
    tally = Tally(f"The annotation file {json_file}", _RULES)
    categories = _check_categories(content["categories"], tally)
    images = _check_images(content["images"], str(image_root), headers, tally)
    annotations = content.get("annotations", [])
    _check_annotations(annotations, images, categories, str(json_file), tally)
    if evaluation:
        for ann in annotations:
            if not _is_number(ann.get("area")) or "iscrowd" not in ann:
                tally.add("not-evaluable", f"annotation {ann.get('id')!r}")
            if ann.get("id") == 0:
                tally.add("annotation-id-zero", f"of image {ann.get('image_id')!r}")
    findings = tally.findings()
    if not training:
        findings = [f for f in findings if f.code != "empty-box"]
    elif all(ann.get("iscrowd") for ann in annotations):
        message = f"The annotation file {json_file} has no object to train on, crowd regions apart."
        findings.append(Finding("error", "no-object", message))
    if not os.path.isdir(image_root):
        message = f"The image folder {image_root} of the data set {name!r} does not exist."
        findings.insert(0, Finding("error", "missing-folder", message))
    classes = [categories[key] for key in sorted(categories)]
    if expected_classes is not None and classes != list(expected_classes):
        message = (
            f"The annotation file {json_file} has other categories than the data set {name!r} "
            f"must have: {_first_difference(classes, expected_classes)}."
        )
        findings.insert(0, Finding("error", "other-categories", message))
    return DatasetReport(name, classes, len(content["images"]), len(annotations), findings)


def _check_categories(categories: list[dict], tally: Tally) -> dict[int, str]:
    """Category id to name, of the categories that are complete."""
    names: dict[int, str] = {}
    for category in categories:
        key, name = category.get("id"), category.get("name")
        if not isinstance(key, int) or not isinstance(name, str):
            tally.add("incomplete-category", f"category {key!r} with name {name!r}")
        elif key in names:
            tally.add("duplicate-category-id", f"category {key}")
        else:
            if name in names.values():
                tally.add("duplicate-category-name", repr(name))
            names[key] = name
    return names


def _check_images(
    images: list[dict], image_root: str, headers: int | None, tally: Tally
) -> dict[int | str, tuple[float, float]]:
    """Image id to (width, height), of the images that are complete."""
    sizes: dict[int | str, tuple[float, float]] = {}
    sized_files = []
    for image in images:
        key, file_name = image.get("id"), image.get("file_name")
        size = image.get("width"), image.get("height")
        named = isinstance(key, (int, str)) and isinstance(file_name, str) and file_name != ""
        if not named or not all(_is_number(side) and side > 0 for side in size):
            tally.add("incomplete-image", f"image {key!r} with file_name {file_name!r}")
            continue
        if key in sizes:
            tally.add("duplicate-image-id", f"image {key!r}")
        elif sizes and isinstance(key, str) != isinstance(next(iter(sizes)), str):
            tally.add("mixed-image-ids", f"image {key!r}")
        sizes[key] = size
        sized_files.append((file_name, size))
    root = os.path.normpath(image_root)
    inside = {}
    for file_name, size in sized_files:
        path = os.path.normpath(os.path.join(root, file_name))
        if root == os.curdir:
            leaves = os.path.isabs(path) or path.split(os.sep)[0] == os.pardir
        else:
            leaves = not path.startswith(root.rstrip(os.sep) + os.sep)
        if leaves:
            tally.add("path-outside-root", repr(file_name))
        else:
            inside[path] = size
    for path in missing_files(inside):
        tally.add("missing-image", path)
        del inside[path]
    if headers != 0:
        check_images(inside, tally, headers)
    return sizes


def _check_annotations(
    annotations: list[dict],
    images: dict[int | str, tuple[float, float]],
    categories: dict[int, str],
    json_file: str,
    tally: Tally,
) -> None:
    # COCO's own "minival" files repeat annotation ids, and Detectron2 lets those pass.
    unique_ids = "minival" not in json_file
    seen: set = set()
    used_images: set = set()
    used_categories: set = set()
    for ann in annotations:
        key, image_id, category_id = ann.get("id"), ann.get("image_id"), ann.get("category_id")
        example = f"annotation {key!r}"
        scalar = all(isinstance(v, (int, str)) for v in (key, image_id, category_id))
        if not scalar or "bbox" not in ann:
            tally.add("incomplete-annotation", example)
            continue
        if key in seen and unique_ids:
            tally.add("duplicate-annotation-id", example)
        seen.add(key)
        used_images.add(image_id)
        used_categories.add(category_id)
        if image_id not in images:
            tally.add("unknown-image", f"{example} with image_id {image_id!r}")
        if category_id not in categories:
            tally.add("unknown-category", f"{example} with category_id {category_id!r}")
        if ann.get("ignore"):
            tally.add("ignore-flag", example)
        if ann.get("iscrowd"):
            tally.add("crowd", example)
        _check_box(ann, images.get(image_id), tally)
    for image_id in images:
        if image_id not in used_images:
            tally.add("empty-image", f"image {image_id!r}")
    for category_id, name in categories.items():
        if category_id not in used_categories:
            tally.add("unused-category", repr(name))


def _check_box(ann: dict, size: tuple[float, float] | None, tally: Tally) -> None:
    box = ann["bbox"]
    code = _fault_of_box(box, size)
    if code is not None:
        tally.add(code, f"annotation {ann['id']!r} with bbox {box!r}")
    area = ann.get("area")
    measurable = code in (None, "box-outside-image") and _is_number(area)
    # Some write the area of (w + 1) x (h + 1) inclusive pixels.
    if measurable and not 0 < area <= 1.01 * (box[2] + 1) * (box[3] + 1):
        tally.add("area-mismatch", f"annotation {ann['id']!r}: {area:g} of bbox {box!r}")


def _fault_of_box(box: Any, size: tuple[float, float] | None) -> str | None:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return "malformed-box"
    x, y, width, height = box
    if width < 0 or height < 0:
        return "negative-box"
    if width == 0 or height == 0:
        return "empty-box"
    if size is None:
        return None
    slack = _OUTSIDE_TOLERANCE
    right, bottom = size[0] + slack, size[1] + slack
    outside = x < -slack or y < -slack or x + width > right or y + height > bottom
    return "box-outside-image" if outside else None


def _is_number(value: Any) -> bool:
    # Not isinstance: bool is an int, and this runs for each coordinate of a data set.
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) < _LARGEST_INTEGER


def _first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} instead of {len(expected)}"
    index = next(i for i, pair in enumerate(zip(found, expected, strict=True)) if len({*pair}) > 1)
    return f"number {index + 1} is {found[index]!r} instead of {expected[index]!r}"


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` that do not exist; each folder is listed once, whatever its size."""
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, base = os.path.split(path)
        if folder not in listings:
            try:
                listings[folder] = set(os.listdir(folder or os.curdir))
            except OSError:
                listings[folder] = set()
        # The second look is for file systems that ignore case.
        if base not in listings[folder] and not os.path.exists(path):
            missing.append(path)
    return missing
