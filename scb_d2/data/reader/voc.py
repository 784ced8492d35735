"""Read the folder layout of PASCAL VOC into canonical records."""

from __future__ import annotations

import codecs
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode

from scb_d2.errors import DataError

from .images import IMAGE_SUFFIXES, header_size
from .records import READING_RULES, Records
from .tally import Tally
from .text import read_text, unicode_mark
from .values import flag, is_number, number

__all__ = ["VocImage", "VocObject", "read_voc", "read_voc_xml", "voc_image_ids"]

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._:-]+)["'][^>]*\?>""")

_DECLARATION = re.compile(r"^\s*<\?xml.*?\?>")


@dataclass(frozen=True)
class VocObject:
    """One object of a VOC annotation file.

    Attributes:
        name: class name.
        box: ``(xmin, ymin, xmax, ymax)`` as written, in 1-based inclusive pixel indices.
        difficult: the text of the flag, "" where there is none.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: str = ""


@dataclass(frozen=True)
class VocImage:
    """One VOC annotation file: image size in pixels (None where it has none) and objects."""

    width: int | None
    height: int | None
    objects: list[VocObject] = field(default_factory=list)


def voc_image_ids(dirname: str | Path, split: str) -> list[str]:
    """Image ids that ``ImageSets/Main/<split>.txt`` lists, in its order.

    Raises:
        DataError: if the list is missing, empty or has more than one column.
    """
    path = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    try:
        ids = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The VOC image list {path} cannot be read: {_reason(error)}.") from error
    if not ids:
        raise DataError(f"The VOC image list {path} is empty: it must name one image id per line.")
    for image_id in ids:
        # The lists of single classes have a second column; a name may hold spaces, too.
        if len(image_id.split()) > 1 and not os.path.exists(_xml_path(dirname, image_id)):
            raise DataError(
                f"The VOC image list {path} must name one image id per line, not {image_id!r}."
            )
    return [_without_suffix(dirname, image_id) for image_id in ids]


def _without_suffix(dirname: str | Path, image_id: str) -> str:
    """The id where a list names a file, ``1.jpg`` or ``1.xml``."""
    stem, suffix = os.path.splitext(image_id)
    if not suffix or os.path.exists(_xml_path(dirname, image_id)):
        return image_id
    return stem if os.path.exists(_xml_path(dirname, stem)) else image_id


def read_voc_xml(path: str | Path) -> VocImage:
    """Parse one VOC annotation file, in any encoding that Python knows.

    Raises:
        DataError: if the file is missing, no XML, of something else, has its objects elsewhere, or
            lacks an object's name or box, or gives an object several.
    """
    root = _parse(path)
    for element in root.iter():  # names of tools may stand in a namespace
        element.tag = element.tag.rpartition("}")[2]
    size = root.find("size")
    width, height = (
        None if size is None else number((size.findtext(key) or "").strip())
        for key in ("width", "height")
    )
    objects, found = [], root.findall("object")
    if not found and root.find(".//object") is not None:
        raise DataError(
            f"The VOC annotation file {path} has its objects deeper than directly below its first "
            f"element, <{root.tag}>."
        )
    if not found and root.tag.lower() != "annotation":
        raise DataError(
            f"The VOC annotation file {path} holds <{root.tag}> where <annotation> must stand."
        )
    for count, element in enumerate(found, start=1):
        try:
            names = {name.text.strip() for name in element.findall("name")}
            boxes = {_corners(box) for box in element.findall("bndbox")}
        except (AttributeError, TypeError, ValueError):
            names = boxes = set()
        subject = f"Object {count} of the VOC annotation file {path}"
        if not names or not boxes:
            raise DataError(
                f"{subject} lacks a name or a bndbox with numbers in xmin, ymin, xmax and ymax."
            )
        if len(names) > 1 or len(boxes) > 1:
            raise DataError(
                f"{subject} has names or bndboxes that differ; it must have one of each."
            )
        difficult = (element.findtext("difficult") or "").strip()
        objects.append(VocObject(names.pop(), boxes.pop(), difficult))
    sized = width and height and min(width, height) > 0
    return VocImage(int(width) if sized else None, int(height) if sized else None, objects)


def _corners(box: ElementTree.Element) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = (float(box.find(key).text) for key in ("xmin", "ymin", "xmax", "ymax"))
    return xmin, ymin, xmax, ymax


def read_voc(dirname: str | Path, split: str, class_names: Sequence[str]) -> Records:
    """Read a data set in the layout of PASCAL VOC.

    On files as VOC's own it gives what Detectron2's reader gives, and the ``difficult`` flags.

    Args:
        dirname: folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: name of the image list.
        class_names: classes in the order of the model's outputs.

    Raises:
        DataError: if the image list cannot be used.
    """
    subject = f"The VOC data set {dirname} (split {split!r})"
    tally = Tally(subject, READING_RULES)
    classes = {name: index for index, name in enumerate(class_names)}
    image_file = _ImageFiles(os.path.join(dirname, "JPEGImages"))
    records: dict[str, dict[str, Any]] = {}
    count = 0
    for image_id in voc_image_ids(dirname, split):
        if image_id in records:
            tally.add("duplicate-image-id", f"image {image_id!r}")
            continue
        file_name = image_file(image_id)
        record = {"file_name": file_name, "image_id": image_id, "annotations": []}
        records[image_id] = record
        path = _xml_path(dirname, image_id)
        if os.path.isabs(image_id) or os.pardir in Path(image_id).parts:
            continue  # the check of the images says that it leads out of the folder
        try:
            image = read_voc_xml(path)
        except DataError as error:
            tally.add("unreadable-annotation", str(error).rstrip("."))
            continue
        record["height"], record["width"] = _size(image, file_name, tally)
        for number_, obj in enumerate(image.objects, start=1):
            count += 1
            example = f"object {number_} of {path}"
            annotation = _annotation(obj, classes, example, tally)
            if annotation is not None:
                record["annotations"].append({"id": count, **annotation})
    return Records(
        subject=subject,
        class_names=list(class_names),
        category_ids=list(range(len(class_names))),
        images=list(records.values()),
        tally=tally,
        image_root=os.path.join(dirname, "JPEGImages"),
    )


def _annotation(
    obj: VocObject, classes: dict[str, int], example: str, tally: Tally
) -> dict[str, Any] | None:
    if obj.name not in classes:
        tally.add("unknown-class", f"{example} of class {obj.name!r}")
        return None
    boxed = f"{example} with bndbox {list(obj.box)}"
    if not all(map(is_number, obj.box)):
        tally.add("malformed-box", boxed)
        return None
    xmin, ymin, xmax, ymax = obj.box
    # Corners are inclusive pixel indices that start at 1.
    box = [xmin - 1.0, ymin - 1.0, xmax - (xmin - 1.0), ymax - (ymin - 1.0)]
    if box[2] < 0 or box[3] < 0:
        tally.add("negative-box", boxed)
        return None
    difficult = flag(obj.difficult)
    if difficult is None:
        # Some tools count levels of difficulty; a word such as "Unspecified" says nothing.
        difficult = int(number(obj.difficult) is not None)
        tally.add("other-flag", f"{example} with difficult {obj.difficult!r}")
    return {
        "category_id": classes[obj.name],
        "bbox": box,
        "bbox_mode": BoxMode.XYWH_ABS,
        "iscrowd": 0,
        "difficult": difficult,
        "area": box[2] * box[3],
    }


def _size(image: VocImage, file_name: str, tally: Tally) -> tuple[int | None, int | None]:
    """Height and width."""
    if image.width is not None:
        return image.height, image.width
    try:
        width, height = header_size(file_name)
    except FileNotFoundError:
        return None, None  # the check of the images says that it is missing
    except OSError:
        tally.add("unreadable-image-size", file_name)
        return None, None
    tally.add("size-from-image", file_name)
    return height, width


class _ImageFiles:
    """Paths of images by their ids, which lack the suffix; .jpg before others."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._listed: dict[str, dict[str, str]] = {}

    def __call__(self, image_id: str) -> str:
        inner, stem = os.path.split(image_id)
        folder = os.path.join(self.root, inner)
        if inner not in self._listed:
            self._listed[inner] = self._images(folder)
        return os.path.join(folder, self._listed[inner].get(stem, f"{stem}.jpg"))

    @staticmethod
    def _images(folder: str) -> dict[str, str]:
        try:
            names = os.listdir(folder)
        except OSError:
            return {}
        found: dict[str, str] = {}
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in IMAGE_SUFFIXES and (suffix == ".jpg" or stem not in found):
                found[stem] = name
        return found


def _xml_path(dirname: str | Path, image_id: str) -> str:
    return os.path.join(dirname, "Annotations", f"{image_id}.xml")


def _parse(path: str | Path) -> ElementTree.Element:
    """The root of an XML file; expat itself knows few encodings."""
    try:
        content = Path(path).read_bytes()
        mark = unicode_mark(content)
        if mark is not None:  # it knows better than a declaration
            return ElementTree.fromstring(_DECLARATION.sub("", content.decode(mark)))
        declared = _DECLARED.match(content)
        if declared is None:
            return ElementTree.fromstring(content)
        encoding = declared[1].decode("ascii")
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise DataError(
                f"The VOC annotation file {path} declares the unknown encoding {encoding!r}."
            ) from error
        # A text must not declare an encoding.
        return ElementTree.fromstring(content[declared.end() :].decode(encoding))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"The VOC annotation file {path} cannot be read: {_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
