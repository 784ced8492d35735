"""Read the layout of YOLO (``data.yaml``, ``images/``, ``labels/``) into canonical records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.structures import BoxMode
from PIL import Image

from scb_d2.errors import DataError

from .images import header_size, image_path, is_image_file
from .records import READING_RULES, Records
from .segmentations import mask_area
from .tally import Rules, Tally
from .text import read_text
from .values import number

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
    path, content = _description(data)
    subject = f"The YOLO data set {path} (split {split!r})"
    tally = Tally(subject, _RULES)
    names = _class_names(content, path)
    images: list[dict[str, Any]] = []
    count = 0
    root = _root(content, path)
    for file_name in _image_files(content, split, path, root, tally):
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
    if images and not any(os.path.exists(_label_file(i["file_name"])) for i in images):
        tally.add("no-label-file", _label_file(images[0]["file_name"]))
    return Records(
        subject=subject,
        class_names=names,
        category_ids=list(range(len(names))),
        images=images,
        tally=tally,
        image_root=os.path.commonpath([os.path.dirname(i["file_name"]) for i in images] or [root]),
    )


def yolo_classes(data: str | Path) -> list[str]:
    """Class names of a ``data.yaml``.

    Raises:
        DataError: if the file cannot be used.
    """
    path, content = _description(data)
    return _class_names(content, path)


def _description(data: str | Path) -> tuple[Path, Mapping[str, Any]]:
    path = Path(data)
    if path.is_dir():
        path = path / "data.yaml"
    try:
        content = yaml.safe_load(read_text(path))
    except OSError as error:
        raise DataError(f"The YOLO file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"The YOLO file {path} is not YAML: {reason}.") from error
    if not isinstance(content, Mapping):
        raise DataError(f"The YOLO file {path} must hold keys such as train, val and names.")
    if content.get("kpt_shape"):
        raise DataError(
            f"The YOLO file {path} has keypoints (kpt_shape), which are read from COCO JSON only."
        )
    return path, content


def _class_names(content: Mapping[str, Any], path: Path) -> list[str]:
    names = content.get("names")
    if isinstance(names, Mapping):
        by_number = {number(key) if isinstance(key, str) else key: names[key] for key in names}
        if set(by_number) == set(range(len(names))):
            names = [by_number[n] for n in range(len(names))]
    sound = isinstance(names, list) and all(isinstance(n, str | int | float) for n in names)
    if not sound or not names:
        raise DataError(
            f"The YOLO file {path} must give the class names as a list, or by numbers from 0, not "
            f"{names!r}."
        )
    count = content.get("nc")
    if count is not None and number(count) != len(names):
        raise DataError(f"The YOLO file {path} says nc {count!r} and names {len(names)} classes.")
    return [str(name) for name in names]


def _root(content: Mapping[str, Any], path: Path) -> str:
    """The folder that the entries of a ``data.yaml`` start at."""
    root = Path(os.path.expanduser(str(content.get("path") or ".")))
    beside = path.parent / root
    return os.path.normpath(beside if beside.is_dir() or not root.is_dir() else root)


def _image_files(
    content: Mapping[str, Any], split: str, path: Path, root: str, tally: Tally
) -> list[str]:
    entries = content.get(split)
    if entries is None:
        known = ", ".join(key for key in ("train", "val", "test") if content.get(key))
        raise DataError(f"The YOLO file {path} has no split {split!r}; it has {known or 'none'}.")
    files: list[str] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            raise DataError(
                f"The YOLO file {path} must give its split {split!r} as a folder, a list of image "
                f"files, or several of these; got {entries!r}."
            )
        place = os.path.normpath(os.path.join(root, entry))
        if not os.path.exists(place) and entry.startswith("../"):
            # Some exports count from a folder beside the file.
            place = os.path.normpath(os.path.join(root, entry[3:]))
        if os.path.isdir(place):
            walked = (os.path.join(d, f) for d, _, names in os.walk(place) for f in names)
            files += sorted(filter(is_image_file, walked))
        elif os.path.isfile(place):
            folder = os.path.dirname(place)
            names = filter(None, map(str.strip, _lines(place)))
            files += [os.path.normpath(image_path(folder, name, tally)) for name in names]
        else:
            raise DataError(
                f"The YOLO file {path} names {place} as its split {split!r}, which does not exist."
            )
    if not files:
        raise DataError(f"The YOLO file {path} has no image in its split {split!r}.")
    return list(dict.fromkeys(files))


def _lines(path: str) -> list[str]:
    try:
        return read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The list of images {path} cannot be read: {reason}.") from error


def _label_file(image_file: str) -> str:
    folder, _, name = image_file.rpartition(os.sep + "images" + os.sep)
    stem = os.path.splitext(name)[0]
    if not folder:  # labels may lie beside the images
        return f"{os.path.splitext(image_file)[0]}.txt"
    return os.path.join(folder, "labels", f"{stem}.txt")


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
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
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
