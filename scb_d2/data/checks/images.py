"""What is said about the image files of a data set, without decoding any."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import Any

from PIL import UnidentifiedImageError

from scb_d2.data.images import is_deep
from scb_d2.data.reader.images import read_header, why_unreadable
from scb_d2.data.reader.records import Records
from scb_d2.data.reader.tally import Finding, Rules, Tally

from .needs import Needs

__all__ = ["image_findings", "missing_files", "missing_findings"]

_RULES: Rules = {
    "path-outside-root": ("error", "names image files that lead out of the image folder"),
    "missing-image": ("error", "names image files that do not exist"),
    "unreadable-image": ("error", "names image files that cannot be read"),
    "other-size": ("error", "has another width or height than the image files, turned by EXIF"),
    "duplicate-image-file": ("warning", "names image files more than once"),
    "exif-rotation": (
        "warning",
        "names image files that an EXIF tag turns or mirrors, as Detectron2 does before training",
    ),
    "deep-image": (
        "warning",
        "names image files of more than 8 bits a value, of which each is scaled from its own least "
        "and largest value to 0 and 255; INPUT.PIXEL_RANGE (pixel_range) sets one range for all",
    ),
    "ranged-image": (
        "note",
        "names image files of more than 8 bits a value, which are scaled by INPUT.PIXEL_RANGE",
    ),
}
_PLAIN = (None, 1)


def image_findings(records: Records, needs: Needs, headers: int | None) -> list[Finding]:
    """Look for the image files, and at the headers of some.

    Args:
        records: a data set; one without an image folder, as Python code may register, is left
            alone.
        needs: what the model asks of it.
        headers: of how many files, evenly spread, the header is read; None: of all.
    """
    root = records.image_root
    if root is None:
        return []
    tally = Tally(records.subject, _RULES)
    sizes: dict[str, tuple[float | None, float | None]] = {}
    here = os.getcwd()
    folder = os.path.join(os.path.normpath(os.path.join(here, root)), "")
    for image in records.images:
        path = os.path.normpath(image["file_name"])
        if not os.path.normpath(os.path.join(here, path)).startswith(folder):
            shown = image["file_name"].removeprefix(os.path.join(root, ""))
            tally.add("path-outside-root", repr(shown))
        elif path in sizes:
            tally.add("duplicate-image-file", path)
        else:
            sizes[path] = image.get("width"), image.get("height")
    for path in missing_files(sizes):
        tally.add("missing-image", path)
        del sizes[path]
    step = 1 if headers is None else -(-len(sizes) // max(headers, 1))
    if headers != 0:
        for path, annotated in islice(sizes.items(), 0, None, step or 1):
            _look_at(path, annotated, needs, tally)
    return tally.findings()


def missing_findings(subject: str, dicts: Iterable[dict[str, Any]]) -> list[Finding]:
    """Look for the image files of dicts in Detectron2's format, wherever they lie.

    Args:
        subject: start of the sentence.
        dicts: those without a file are left alone.
    """
    tally = Tally(subject, _RULES)
    for path in missing_files(d["file_name"] for d in dicts if "file_name" in d):
        tally.add("missing-image", path)
    return tally.findings()


def _look_at(
    path: str, annotated: tuple[float | None, float | None], needs: Needs, tally: Tally
) -> None:
    try:
        size, mode, turned = read_header(path)
    except UnidentifiedImageError:
        tally.add("unreadable-image", f"{path}: no image of a known format")
        return
    except OSError as error:
        tally.add("unreadable-image", f"{path}: {why_unreadable(error)}")
        return
    if None not in annotated and tuple(size) != tuple(annotated):
        found = f"{size[0]} x {size[1]}"
        tally.add("other-size", f"{path}: {found}, not {annotated[0]:g} x {annotated[1]:g}")
    if turned not in _PLAIN:
        tally.add("exif-rotation", f"{path}: orientation {turned}")
    if is_deep(mode):
        tally.add("ranged-image" if needs.pixel_range else "deep-image", f"{path}: {mode}")


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
