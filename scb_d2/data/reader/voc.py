"""Read the folder layout of PASCAL VOC, with the ``difficult`` flags that Detectron2 drops."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.structures import BoxMode

from scb_d2.errors import DataError

__all__ = [
    "VocImage",
    "VocObject",
    "load_voc",
    "load_voc_difficult",
    "read_voc_xml",
    "voc_image_ids",
]


@dataclass(frozen=True)
class VocObject:
    """One object of a VOC annotation file.

    Attributes:
        name: class name.
        box: ``(xmin, ymin, xmax, ymax)`` as written, in 1-based inclusive pixel indices.
        difficult: whether the file flags it as difficult; False where there is no flag.
        tags: names of the XML elements that the object has.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VocImage:
    """One VOC annotation file: image size in pixels and objects."""

    width: int
    height: int
    objects: list[VocObject] = field(default_factory=list)


def voc_image_ids(dirname: str | Path, split: str) -> list[str]:
    """Image ids that ``ImageSets/Main/<split>.txt`` lists, in its order.

    Raises:
        DataError: if the list is missing, empty or has more than one column.
    """
    path = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    try:
        with open(path, encoding="utf-8") as file:
            rows = [line.split() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The VOC image list {path} cannot be read: {_reason(error)}.") from error
    if not rows:
        raise DataError(f"The VOC image list {path} is empty: it must name one image id per line.")
    for row in rows:
        if len(row) != 1:
            raise DataError(
                f"The VOC image list {path} must name one image id per line, not {' '.join(row)!r}."
            )
    return [row[0] for row in rows]


def read_voc_xml(path: str | Path) -> VocImage:
    """Parse one VOC annotation file.

    Raises:
        DataError: if the file is missing, no XML or lacks the size or an object's name or box.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, UnicodeDecodeError) as error:
        raise DataError(
            f"The VOC annotation file {path} cannot be read: {_reason(error)}."
        ) from error
    try:
        width, height = (int(root.find("size").find(key).text) for key in ("width", "height"))
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"The VOC annotation file {path} has no whole-numbered size/width and size/height."
        ) from error
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        try:
            name = element.find("name").text.strip()
            corners = element.find("bndbox")
            box = tuple(float(corners.find(k).text) for k in ("xmin", "ymin", "xmax", "ymax"))
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(
                f"Object {number} of the VOC annotation file {path} lacks a name or a bndbox with "
                "numbers in xmin, ymin, xmax and ymax."
            ) from error
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        tags = frozenset(child.tag for child in element)
        objects.append(VocObject(name, box, difficult, tags))
    return VocImage(width, height, objects)


def load_voc(dirname: str | Path, split: str, class_names: Sequence[str]) -> list[dict]:
    """Load a VOC-layout data set in Detectron2's standard format.

    Gives what Detectron2's own reader gives, a ``difficult`` flag (0 or 1) per annotation beside
    it, and reads lists of a single image too.

    Args:
        dirname: folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: name of the image list.
        class_names: classes; ``category_id`` is the index into them.

    Returns:
        One dict per image; boxes are XYXY_ABS with 0-based xmin and ymin.

    Raises:
        DataError: if a file is malformed or an object's class is not in ``class_names``.
    """
    class_ids = {name: index for index, name in enumerate(class_names)}
    records = []
    for image_id in voc_image_ids(dirname, split):
        path = os.path.join(dirname, "Annotations", f"{image_id}.xml")
        image = read_voc_xml(path)
        annotations = []
        for obj in image.objects:
            if obj.name not in class_ids:
                raise DataError(
                    f"The VOC annotation file {path} has an object of class {obj.name!r}, which is "
                    f"none of the {len(class_ids)} class names of the data set."
                )
            xmin, ymin, xmax, ymax = obj.box
            annotations.append(
                {
                    "category_id": class_ids[obj.name],
                    "bbox": [xmin - 1.0, ymin - 1.0, xmax, ymax],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "difficult": int(obj.difficult),
                }
            )
        records.append(
            {
                "file_name": os.path.join(dirname, "JPEGImages", f"{image_id}.jpg"),
                "image_id": image_id,
                "height": image.height,
                "width": image.width,
                "annotations": annotations,
            }
        )
    return records


def load_voc_difficult(dirname: str | Path, split: str) -> dict[str, list[bool]]:
    """The ``difficult`` flags of a VOC-layout data set.

    Works for Detectron2's built-in VOC sets too; ``dirname`` and ``split`` are in their metadata.

    Returns:
        Image id to one flag per object, in the order of the file, which is that of the loaded
        annotations.

    Raises:
        DataError: if a file is missing or malformed.
    """
    folder = os.path.join(dirname, "Annotations")
    return {
        image_id: [o.difficult for o in read_voc_xml(f"{folder}/{image_id}.xml").objects]
        for image_id in voc_image_ids(dirname, split)
    }


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
