"""Read the layout of YOLO (``data.yaml``, ``images/``, ``labels/``) into canonical records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode

from scb_d2.errors import DataError

from .images import IMAGE_SUFFIXES, header_size, image_path, is_image_file
from .records import READING_RULES, Records
from .segmentations import mask_area
from .tally import Rules, Tally
from .text import read_text
from .values import number
from .yolo_description import class_names, description, places

__all__ = ["read_yolo", "yolo_classes"]

_RULES: Rules = {
    **READING_RULES,
    "missing-image": ("error", "names image files that do not exist"),
    "no-label-file": ("error", "has no label file of any image, such as"),
    "malformed-label": (
        "error",
        "has lines in label files that are neither 'class x y width height' nor 'class' and the "
        "x y of three and more points, each from 0 to 1",
    ),
    "label-without-image": (
        "warning",
        f"has label files without an image ({', '.join(IMAGE_SUFFIXES)}), which are left out",
    ),
    "moved": ("note", "gives a path that does not exist, and its images lie beside the file"),
}
# Rounding of the file's decimals, and boxes that touch the edge.
_SLACK = 0.01
_SHOWN = 60  # letters of a line


def read_yolo(data: str | Path, split: str) -> Records:
    """Read one split of a YOLO data set.

    An image's label file has the same name under ``labels`` instead of ``images``; an image
    without one, or with an empty one, has no objects. A line holds a class number and a box
    (centre, width, height) or a polygon, in shares of the image.

    Args:
        data: ``data.yaml``, or the folder it lies in.
        split: its key: train, val or test.

    Raises:
        DataError: if ``data.yaml`` or its list of images cannot be used.
    """
    path, content = description(data)
    subject = f"The YOLO data set {path} (split {split!r})"
    tally = Tally(subject, _RULES)
    names = class_names(content, path)
    images: list[dict[str, Any]] = []
    count = 0
    root, named = places(content, split, path, tally)
    files = _image_files(named, root, tally)
    if not files:
        raise DataError(f"The YOLO file {path} has no image in its split {split!r}.")
    for file_name in files:
        record = {"file_name": file_name, "image_id": os.path.relpath(file_name, root)}
        size = _size(file_name, tally)
        if size is None:
            continue
        record["width"], record["height"] = size
        record["annotations"] = annotations = []
        for example, line in _label_lines(_label_file(file_name), tally):
            count += 1
            annotation = _annotation(line.split(), size, len(names), example, tally)
            if annotation is not None:
                annotations.append({"id": count, **annotation})
        images.append(record)
    used = set(map(_label_file, files))
    if not any(map(os.path.exists, used)):
        tally.add("no-label-file", _label_file(files[0]))
    for label_file in _label_files(named):
        if label_file not in used:
            tally.add("label-without-image", label_file)
    return Records(
        subject=subject,
        class_names=names,
        category_ids=list(range(len(names))),
        images=images,
        tally=tally,
        # A list may hold relative and whole paths.
        image_root=os.path.commonpath([os.path.dirname(os.path.abspath(f)) for f in files]),
    )


def yolo_classes(data: str | Path) -> list[str]:
    """Class names of a ``data.yaml``.

    Raises:
        DataError: if the file cannot be used.
    """
    path, content = description(data)
    return class_names(content, path)


def _image_files(places: list[str], root: str, tally: Tally) -> list[str]:
    files: list[str] = []
    for place in places:
        if os.path.isdir(place):
            files += sorted(filter(is_image_file, _files_below(place)))
            continue
        starts = (os.path.dirname(place), root, os.curdir)
        names = filter(None, map(str.strip, _lines(place)))
        files += [_listed(name, starts, tally) for name in names]
    return list(dict.fromkeys(files))


def _files_below(folder: str) -> Iterator[str]:
    """Paths in a folder and those below it, also where these are links."""
    seen = set()
    for inner, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(inner)
        if real in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add(real)
        yield from (os.path.join(inner, name) for name in names)


def _listed(name: str, starts: tuple[str, ...], tally: Tally) -> str:
    """The path of an entry of a list, which tools count from different folders."""
    first, *others = starts
    path = image_path(first, name, tally)
    if not os.path.exists(path):
        spelt = name.replace("\\", "/")
        elsewhere = (os.path.join(start, spelt) for start in others)
        path = next(filter(os.path.exists, elsewhere), path)
    return os.path.normpath(path)


def _lines(path: str) -> list[str]:
    try:
        return read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The list of images {path} cannot be read: {reason}.") from error


def _label_file(image_file: str) -> str:
    folder, name = os.path.split(image_file)
    parts = folder.split(os.sep)
    if "images" in parts:  # otherwise labels lie beside the images
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return os.sep.join([*parts, f"{os.path.splitext(name)[0]}.txt"])


def _label_files(places: list[str]) -> Iterator[str]:
    """The label files of folders that hold nothing else."""
    for place in filter(os.path.isdir, places):
        folder = os.path.dirname(_label_file(os.path.join(place, "image")))
        for path in _files_below(folder) if folder != place else ():
            name = os.path.basename(path)
            if name.lower().endswith(".txt") and name != "classes.txt" and name[0] != ".":
                yield path


def _label_lines(path: str, tally: Tally) -> list[tuple[str, str]]:
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        tally.add("unreadable-annotation", f"{path}: {getattr(error, 'strerror', None) or error}")
        return []
    return [(f"line {n} of {path}", x) for n, x in enumerate(lines, start=1) if x.strip()]


def _size(file_name: str, tally: Tally) -> tuple[int, int] | None:
    """Width and height."""
    try:
        return header_size(file_name)
    except FileNotFoundError:
        tally.add("missing-image", file_name)
        return None
    except OSError:
        tally.add("unreadable-image-size", file_name)
        return None


def _annotation(
    words: list[str], size: tuple[int, int], num_classes: int, example: str, tally: Tally
) -> dict[str, Any] | None:
    numbers = [number(word) for word in words]
    shares = numbers[1:]
    is_polygon = len(shares) > 5 and len(shares) % 2 == 0
    sound = None not in numbers and (len(shares) == 4 or is_polygon)
    if not sound or not all(-_SLACK <= share <= 1 + _SLACK for share in shares):
        tally.add("malformed-label", f"{example}: {' '.join(words)[:_SHOWN]!r}")
        return None
    category = numbers[0]
    if category not in range(num_classes):
        tally.add("unknown-class", f"{example} of class {words[0]}")
        return None
    pixels = [share * size[n % 2] for n, share in enumerate(shares)]
    canonical = {"category_id": int(category), "iscrowd": 0, "bbox_mode": BoxMode.XYWH_ABS}
    if is_polygon:
        x, y = pixels[::2], pixels[1::2]
        box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        canonical |= {"bbox": box, "segmentation": [pixels], "area": mask_area([pixels])}
    else:
        x, y, width, height = pixels
        box = [x - width / 2, y - height / 2, width, height]
        canonical |= {"bbox": box, "area": width * height}
    if box[2] < 0 or box[3] < 0:
        tally.add("negative-box", example)
        return None
    return canonical
