"""Objects of a data set in columns, for evaluation.

Naming convention: N images, K classes, G objects. Boxes are (x, y, width, height) in native
pixels, float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from numpy.typing import NDArray

from scb_d2.errors import DataError
from scb_d2.utils.garbage import collection_paused

from .coco import parse_coco, read_coco, read_json
from .records import Records
from .values import LARGEST_INTEGER, Ids, id_order

__all__ = ["GroundTruth", "coco_of", "columns_of", "load_ground_truth"]

Array = NDArray[Any]
# Code that registers a data set may give its annotations more, which no JSON need hold.
_COCO_KEYS = ("id", "bbox", "area", "iscrowd", "difficult", "segmentation")


@dataclass(frozen=True)
class GroundTruth:
    """Objects of a data set in columns; images in the order COCO's evaluation takes them.

    Attributes:
        image_ids: N ids, ascending.
        image_sizes: (N, 2) width and height in native pixels, NaN where they are unknown.
        file_names: N names, empty where the file has none.
        category_ids: K ids, ascending.
        category_names: K names.
        object_ids: (G,) annotation ids.
        image: (G,) int64, index into `image_ids`.
        category: (G,) int64, index into `category_ids`.
        boxes: (G, 4) float64 (x, y, width, height).
        area: (G,) float64, square native pixels.
        crowd: (G,) bool, COCO's `iscrowd`.
        difficult: (G,) bool, PASCAL VOC's `difficult`.
    """

    image_ids: tuple[int | str, ...]
    image_sizes: Array
    file_names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    category_names: tuple[str, ...]
    object_ids: Array
    image: Array
    category: Array
    boxes: Array
    area: Array
    crowd: Array
    difficult: Array

    @property
    def ignored(self) -> Array:
        """(G,) bool: crowd and difficult objects count neither as found nor as missed."""
        return self.crowd | self.difficult

    @property
    def num_images(self) -> int:
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    def __len__(self) -> int:
        return len(self.image)


def load_ground_truth(source: str | Path | Mapping[str, Any], name: str = "") -> GroundTruth:
    """Objects from COCO annotations (a file or its content).

    `difficult` (PASCAL VOC) is read where an annotation has it; `area`, `iscrowd` and image sizes
    are optional.

    Args:
        source: path of the file, or the dictionary it holds.
        name: how error messages call the data; the path by default.

    Raises:
        DataError: a field is missing or malformed.
    """
    with collection_paused():
        if isinstance(source, Mapping):
            return columns_of(parse_coco(source, name or "annotations", with_images=False))
        plain = _plain_columns(source)
        return columns_of(read_coco(source, with_images=False)) if plain is None else plain


def _plain_columns(path: str | Path) -> GroundTruth | None:
    """The objects of a file that needs no second look; None where one is needed."""
    try:
        from .plain import plain_coco
    except ImportError:  # msgspec is not installed
        return None
    content = read_json(path, loads=plain_coco)
    if content is None or not content.images or not content.categories:
        return None
    images, categories = (
        sorted(entries, key=lambda entry: id_order(entry.id))
        for entries in (content.images, content.categories)
    )
    objects = content.annotations
    image_ids, category_ids, object_ids = (
        [entry.id for entry in entries] for entries in (images, categories, objects)
    )
    if any(len(set(ids)) < len(ids) for ids in (image_ids, category_ids, object_ids)):
        return None
    file_names = tuple(entry.file_name or "" for entry in images)
    image = Ids(image_ids).find_all([entry.image_id for entry in objects])
    category = Ids(category_ids).find_all([entry.category_id for entry in objects])
    if image is None or category is None or any("\\" in name for name in file_names):
        return None
    ids = np.empty(len(objects), dtype=object)
    ids[:] = object_ids
    sizes = np.array([(entry.width, entry.height) for entry in images], dtype=np.float64)
    sizes[sizes == 0] = np.nan
    sides = chain.from_iterable(entry.bbox for entry in objects)
    boxes = np.fromiter(sides, np.float64, 4 * len(objects)).reshape(-1, 4)
    area, crowd, difficult = (
        np.array([getattr(entry, key) for entry in objects], dtype=kind)
        for key, kind in (("area", np.float64), ("iscrowd", bool), ("difficult", bool))
    )
    numbers = np.concatenate([sizes[~np.isnan(sizes)], boxes.ravel(), area])
    if (np.abs(numbers) >= LARGEST_INTEGER).any() or (boxes[:, 2:] < 0).any() or (area <= 0).any():
        return None
    order = np.argsort(image, kind="stable")
    return GroundTruth(
        image_ids=tuple(image_ids),
        image_sizes=sizes,
        file_names=file_names,
        category_ids=tuple(category_ids),
        category_names=tuple(entry.name for entry in categories),
        object_ids=ids[order],
        image=image[order],
        category=category[order],
        boxes=boxes[order],
        area=area[order],
        crowd=crowd[order],
        difficult=difficult[order],
    )


def columns_of(records: Records) -> GroundTruth:
    """The objects of records in columns.

    Raises:
        DataError: if reading met an error, if there are no annotations, or if boxes are rotated.
    """
    records.refuse_faults()
    if not records.has_annotations:
        raise DataError(f"{records.subject} has no annotations, so nothing can be measured.")
    pairs = [
        (n, annotation)
        for n, image in enumerate(records.images)
        for annotation in image.get("annotations", ())
    ]
    annotations = [annotation for _, annotation in pairs]
    rotated = next((a for a in annotations if len(a["bbox"]) != 4), None)
    if rotated is not None:
        raise DataError(
            f"{records.subject} has rotated boxes (annotation {rotated['id']!r}), which recall by "
            "size does not measure."
        )
    sizes = [image.get(key) or np.nan for image in records.images for key in ("width", "height")]
    ids = np.empty(len(annotations), dtype=object)
    ids[:] = [a["id"] for a in annotations]
    return GroundTruth(
        image_ids=tuple(image["image_id"] for image in records.images),
        image_sizes=np.array(sizes, dtype=np.float64).reshape(-1, 2),
        file_names=tuple(str(image.get("file_name", "")) for image in records.images),
        category_ids=tuple(records.category_ids),
        category_names=tuple(records.class_names),
        object_ids=ids,
        image=np.array([n for n, _ in pairs], dtype=np.int64),
        category=np.array([a["category_id"] for a in annotations], dtype=np.int64),
        boxes=np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4),
        area=np.array([a["area"] for a in annotations], dtype=np.float64),
        crowd=np.array([a["iscrowd"] for a in annotations], dtype=bool),
        difficult=np.array([a.get("difficult", 0) for a in annotations], dtype=bool),
    )


def coco_of(records: Records, *, numbered: bool = False) -> dict[str, Any]:
    """The content of a COCO JSON file that holds the same objects.

    Args:
        records: a data set.
        numbered: number images, annotations and categories from 1 in order instead of giving them
            their own ids: what every implementation of COCO's evaluation can take.
    """
    image_ids = [image["image_id"] for image in records.images]
    category_ids = list(records.category_ids)
    if numbered:
        image_ids = list(range(1, len(image_ids) + 1))
        category_ids = list(range(1, len(category_ids) + 1))
    images, annotations = [], []
    for image_id, record in zip(image_ids, records.images, strict=True):
        known = {key: record[key] for key in ("file_name", "width", "height") if key in record}
        images.append({"id": image_id, **known})
        for annotation in record.get("annotations", ()):
            row = {key: annotation[key] for key in _COCO_KEYS if key in annotation}
            row["image_id"] = image_id
            row["category_id"] = category_ids[annotation["category_id"]]
            if numbered:
                row["id"] = len(annotations) + 1
            if annotation["bbox_mode"] == BoxMode.XYWH_ABS:
                row["bbox"] = [float(value) for value in annotation["bbox"]]
            if "keypoints" in annotation:
                keypoints = annotation["keypoints"]
                # Records have half a pixel more than COCO's files.
                row["keypoints"] = [
                    float(v) if n % 3 == 2 else float(v) - 0.5 for n, v in enumerate(keypoints)
                ]
                row["num_keypoints"] = sum(v > 0 for v in row["keypoints"][2::3])
            annotations.append(row)
    pairs = zip(category_ids, records.class_names, strict=True)
    categories = [{"id": key, "name": name} for key, name in pairs]
    content = {"images": images, "annotations": annotations, "categories": categories}
    if not records.has_annotations:
        del content["annotations"]
    return content
