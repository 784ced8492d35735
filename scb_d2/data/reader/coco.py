"""Ground truth and detections in columns, read from COCO JSON and checked.

Naming convention: N images, K classes, G objects, D detections. Boxes are (x, y, width, height)
in native pixels, float64, as in COCO's files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.errors import DataError

__all__ = ["Detections", "GroundTruth", "load_detections", "load_ground_truth", "read_json"]

Array = NDArray[Any]
# A box this far outside its image is taken for a wrong format, not for a rough edge.
_OUTSIDE_TOLERANCE = 1.0


@dataclass(frozen=True)
class GroundTruth:
    """Objects of a data set in columns; images in the order COCO's evaluation takes them.

    Attributes:
        image_ids: N ids, ascending.
        image_sizes: (N, 2) width and height in native pixels, NaN where the file has none.
        file_names: N names, empty where the file has none.
        category_ids: K ids, ascending.
        category_names: K names.
        object_ids: (G,) annotation ids.
        image: (G,) int64, index into `image_ids`.
        category: (G,) int64, index into `category_ids`.
        boxes: (G, 4) float64 (x, y, width, height).
        area: (G,) float64, the annotation's `area`; the box's where the file has none.
        crowd: (G,) bool, COCO's `iscrowd`.
        difficult: (G,) bool, PASCAL VOC's `difficult`.
    """

    image_ids: tuple[int | str, ...]
    image_sizes: Array
    file_names: tuple[str, ...]
    category_ids: tuple[int, ...]
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


@dataclass(frozen=True)
class Detections:
    """Detections of one run in columns, in the order of the file.

    Attributes:
        image: (D,) int64, index into :attr:`GroundTruth.image_ids`.
        category: (D,) int64, index into :attr:`GroundTruth.category_ids`.
        boxes: (D, 4) float64 (x, y, width, height).
        scores: (D,) float64.
    """

    image: Array
    category: Array
    boxes: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.image)

    @property
    def area(self) -> Array:
        """(D,) box areas in native square pixels."""
        return self.boxes[:, 2] * self.boxes[:, 3]


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file is missing, not readable or not JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}).") from error


def load_ground_truth(source: str | Path | Mapping[str, Any], name: str = "") -> GroundTruth:
    """Objects from COCO annotations (a file or its content).

    `difficult` (PASCAL VOC) is read where an annotation has it; `area`, `iscrowd` are optional.

    Args:
        source: path of the file, or the dictionary it holds.
        name: how error messages call the data; the path by default.

    Raises:
        DataError: a field is missing or malformed.
    """
    if isinstance(source, Mapping):
        data, name = source, name or "annotations"
    else:
        data, name = read_json(source), name or str(source)
    if not isinstance(data, Mapping):
        raise DataError(f"{name}: must be a JSON object with images, annotations and categories.")
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            raise DataError(f"{name}: the list '{key}' is missing (COCO detection format).")

    images = sorted(data["images"], key=lambda image: _sort_key(image, name, "image"))
    image_ids = tuple(image["id"] for image in images)
    categories = sorted(data["categories"], key=lambda c: _sort_key(c, name, "category"))
    category_ids = tuple(category["id"] for category in categories)
    for kind, ids in (("image", image_ids), ("category", category_ids)):
        if len(set(ids)) != len(ids):
            raise DataError(f"{name}: two entries have the same {kind} id.")

    annotations = data["annotations"]
    image = _indices(annotations, "image_id", image_ids, name, "annotation", "images")
    category = _indices(annotations, "category_id", category_ids, name, "annotation", "categories")
    boxes = _boxes(annotations, name, "annotation")
    area = _numbers([a.get("area", np.nan) for a in annotations], name, "an annotation's area")
    area = np.where(np.isnan(area), boxes[:, 2] * boxes[:, 3], area)
    sides = [i.get(key, np.nan) for i in images for key in ("width", "height")]
    sizes = _numbers(sides, name, "an image's width or height").reshape(-1, 2)
    return GroundTruth(
        image_ids=image_ids,
        image_sizes=sizes,
        file_names=tuple(str(i.get("file_name", "")) for i in images),
        category_ids=category_ids,
        category_names=tuple(str(c.get("name", c["id"])) for c in categories),
        object_ids=np.array([a.get("id", n) for n, a in enumerate(annotations)], dtype=object),
        image=image,
        category=category,
        boxes=boxes,
        area=area,
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool),
        difficult=np.array([bool(a.get("difficult", 0)) for a in annotations], dtype=bool),
    )


def load_detections(
    source: str | Path | Sequence[Mapping[str, Any]], ground_truth: GroundTruth, name: str = ""
) -> Detections:
    """Detections from a COCO results list (a file or its content) of any framework.

    An empty list is valid: nothing was detected.

    Args:
        source: path of the file, or the list it holds.
        ground_truth: the data set that was detected on.
        name: how error messages call the data; the path by default.

    Raises:
        DataError: a field is missing, an id is not in the annotations, a score is not finite or a
            box lies wholly outside its image.
    """
    if isinstance(source, str | Path):
        results, name = read_json(source), name or str(source)
    else:
        results, name = source, name or "results"
    if isinstance(results, Mapping) or not isinstance(results, Sequence):
        raise DataError(
            f"{name}: must be a list of {{image_id, category_id, bbox, score}} (COCO results)."
        )
    image = _indices(results, "image_id", ground_truth.image_ids, name, "result", "images")
    category = _indices(
        results, "category_id", ground_truth.category_ids, name, "result", "categories"
    )
    boxes = _boxes(results, name, "result")
    try:
        scores = np.array([_field(r, "score", name, "result", n) for n, r in enumerate(results)])
        scores = scores.astype(np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: a score is not a number.") from error
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError(
            f"{name}: result {bad[0]} has the score {scores[bad[0]]}; it must be finite."
        )
    _refuse_outside(boxes, ground_truth.image_sizes[image], results, name)
    return Detections(image=image, category=category, boxes=boxes, scores=scores)


def _sort_key(entry: Any, name: str, kind: str) -> tuple[bool, int | str]:
    value = _field(entry, "id", name, kind)
    if not isinstance(value, int | float | str):
        raise DataError(f"{name}: the {kind} id {value!r} is neither a number nor text.")
    return isinstance(value, str), value


def _numbers(values: Sequence[Any], name: str, what: str) -> Array:
    for value in values:
        if not isinstance(value, int | float):
            raise DataError(f"{name}: {what} is {value!r}, which is no number.")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError as error:
        raise DataError(f"{name}: {what} is too large for a number.") from error


def _field(entry: Any, key: str, name: str, kind: str, number: int | None = None) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        which = "an" if number is None and kind[0] in "aeiou" else "a"
        which = f"{which} {kind}" if number is None else f"{kind} {number}"
        raise DataError(f"{name}: {which} has no field '{key}'.")
    return entry[key]


def _indices(
    entries: Sequence[Mapping[str, Any]],
    key: str,
    known: Iterable[int | str],
    name: str,
    kind: str,
    where: str,
) -> Array:
    index = {value: n for n, value in enumerate(known)}
    out = np.empty(len(entries), dtype=np.int64)
    for number, entry in enumerate(entries):
        value = _field(entry, key, name, kind, number)
        try:
            out[number] = index[value]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{name}: {kind} {number} has {key} {value!r}, which is not among the "
                f"{len(index)} {where} of the annotations."
            ) from error
    return out


def _boxes(entries: Sequence[Mapping[str, Any]], name: str, kind: str) -> Array:
    rows = [_field(entry, "bbox", name, kind, number) for number, entry in enumerate(entries)]
    try:
        boxes = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
    except (TypeError, ValueError) as error:
        number = next((n for n, row in enumerate(rows) if not _is_box(row)), 0)
        raise DataError(
            f"{name}: {kind} {number} has the bbox {rows[number]!r}; "
            "four numbers x, y, width, height are needed."
        ) from error
    bad = np.flatnonzero(~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1))
    if len(bad):
        raise DataError(
            f"{name}: {kind} {bad[0]} has the bbox {boxes[bad[0]].tolist()}; x, y, width, height "
            "must be finite, width and height not negative."
        )
    return boxes


def _is_box(row: Any) -> bool:
    return (
        isinstance(row, Sequence)
        and len(row) == 4
        and all(isinstance(value, int | float) for value in row)
    )


def _refuse_outside(
    boxes: Array, sizes: Array, entries: Sequence[Mapping[str, Any]], name: str
) -> None:
    # Comparisons with NaN (an image of unknown size) are False: nothing is refused there.
    outside = (boxes[:, :2] > sizes + _OUTSIDE_TOLERANCE).any(1)
    outside |= (boxes[:, :2] + boxes[:, 2:] < -_OUTSIDE_TOLERANCE).any(1)
    bad = np.flatnonzero(outside)
    if len(bad):
        first = bad[0]
        width, height = sizes[first]
        raise DataError(
            f"{name}: result {first} has the bbox {boxes[first].tolist()}, wholly outside its "
            f"image {entries[first]['image_id']!r} of {width:g} x {height:g} pixels "
            f"({len(bad)} such results); x, y, width, height in native pixels are needed."
        )
