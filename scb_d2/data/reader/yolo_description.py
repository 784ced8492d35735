"""The file ``data.yaml`` of a YOLO data set: its classes, and where the images of a split are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scb_d2.errors import DataError
from scb_d2.utils.unique_keys import UniqueKeyLoader

from .images import image_path
from .tally import Tally
from .text import read_text
from .values import number

__all__ = ["class_names", "description", "places"]


def description(data: str | Path) -> tuple[Path, dict[str, Any]]:
    """Path and content of a ``data.yaml``; names of classes as they are written there.

    Args:
        data: the file, or the folder it lies in.

    Raises:
        DataError: if it is missing, not YAML, gives a key twice, or is of keypoints.
    """
    path = Path(data)
    if path.is_dir():
        path = path / "data.yaml"
    try:
        text = read_text(path)
        content, as_written = yaml.load(text, UniqueKeyLoader), yaml.load(text, yaml.BaseLoader)
    except OSError as error:
        raise DataError(f"The YOLO file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"The YOLO file {path} is not YAML: {reason}.") from error
    if not isinstance(content, dict):
        raise DataError(f"The YOLO file {path} must hold keys such as train, val and names.")
    if content.get("kpt_shape"):
        raise DataError(
            f"The YOLO file {path} has keypoints (kpt_shape), which are read from COCO JSON only."
        )
    if content.get("names"):
        # A class may be called no, 007 or 1e3.
        content["names"] = as_written.get("names", content["names"])
    return path, content


def class_names(content: Mapping[str, Any], path: Path) -> list[str]:
    """Names of the classes in the order of their numbers.

    Raises:
        DataError: if there are none, or not as many as ``nc`` says.
    """
    names = content.get("names")
    if isinstance(names, Mapping):
        by_number = {number(key): names[key] for key in names}
        if set(by_number) == set(range(len(names))):
            names = [by_number[n] for n in range(len(names))]
    sound = isinstance(names, list) and all(isinstance(n, str) for n in names)
    if not sound or not names:
        raise DataError(
            f"The YOLO file {path} must give the class names as a list, or by numbers from 0, not "
            f"{names!r}."
        )
    count = content.get("nc")
    if count is not None and number(count) != len(names):
        raise DataError(f"The YOLO file {path} says nc {count!r} and names {len(names)} classes.")
    return names


def places(
    content: Mapping[str, Any], split: str, path: Path, tally: Tally
) -> tuple[str, list[str]]:
    """Where the images of a split are.

    Args:
        content: of a ``data.yaml``.
        split: its key: train, val or test.
        path: of the file.
        tally: is told what is odd.

    Returns:
        The folder that entries start at; the folders, and files that list images.

    Raises:
        DataError: if there is no such split, or one of its places does not exist.
    """
    entries = content.get(split)
    if not entries:
        known = ", ".join(key for key in ("train", "val", "test") if content.get(key))
        raise DataError(f"The YOLO file {path} has no split {split!r}; it has {known or 'none'}.")
    several = entries if isinstance(entries, list) else [entries]
    if not all(isinstance(entry, str) and entry for entry in several):
        raise DataError(
            f"The YOLO file {path} must give its split {split!r} as a folder, a list of image "
            f"files, or several of these; got {entries!r}."
        )
    named = Path(os.path.expanduser(str(content.get("path") or ".")))
    beside = path.parent / named
    root = beside if os.path.isdir(beside) or not os.path.isdir(named) else named
    found = [_place(root, entry, tally) for entry in several]
    if not os.path.isdir(root):
        moved = [_place(path.parent, entry, tally) for entry in several]
        if all(map(os.path.exists, moved)):
            tally.add("moved", str(named))
            root, found = path.parent, moved
    for place in found:
        if not os.path.isdir(place) and not os.path.isfile(place):
            raise DataError(
                f"The YOLO file {path} names {place} as its split {split!r}, which does not exist."
            )
    return os.path.normpath(root), found


def _place(root: Path, entry: str, tally: Tally) -> str:
    place = os.path.normpath(image_path(str(root), entry, tally))
    spelt = entry.replace("\\", "/")
    if not os.path.exists(place) and spelt.startswith("../"):
        # Some exports count from a folder beside the file.
        place = os.path.normpath(os.path.join(root, spelt[3:]))
    return place
