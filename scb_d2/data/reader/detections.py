"""Detections in columns, read from COCO results and checked against the objects.

Naming convention: D detections. Boxes are (x, y, width, height) in native pixels, float64.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.errors import DataError
from scb_d2.utils.garbage import collection_paused

from .coco import read_json
from .ground_truth import GroundTruth
from .values import Ids, box_of

__all__ = ["Detections", "load_detections"]

logger = logging.getLogger(__name__)

Array = NDArray[Any]
Columns = Mapping[str, list[Any]]
# A box this far outside its image is taken for a wrong format, not for a rough edge.
_OUTSIDE_TOLERANCE = 1.0
# Boxes are taken for corners from this number and share of boxes that leave their image on.
_MANY_OUTSIDE, _OUTSIDE_SHARE = 4, 0.25


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

    @cached_property
    def score_rank(self) -> Array:
        """(D,) int64, place of the score among all different ones, 0 for the highest."""
        order = np.argsort(-self.scores)
        ordered = self.scores.take(order)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
        return rank


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
        DataError: a field is missing, an id is not in the annotations, a score is not finite, a
            box lies wholly outside its image, or boxes are corners.
    """
    with collection_paused():
        if not isinstance(source, str | Path):
            name = name or "results"
            return _detections(_Entries(source, name), ground_truth, name)
        name = name or str(source)
        columns = _plain_columns(source)
        if columns is None:
            columns = _Entries(read_json(source, "results file"), name)
        return _detections(columns, ground_truth, name)


def _plain_columns(path: str | Path) -> dict[str, list[Any]] | None:
    try:
        from .plain import plain_results
    except ImportError:  # msgspec is not installed
        return None
    return read_json(path, "results file", plain_results)


class _Entries:
    """Results in rows of any kind, whose columns are looked up by their keys one by one."""

    def __init__(self, entries: Any, name: str) -> None:
        if isinstance(entries, Mapping) or not isinstance(entries, Sequence):
            raise DataError(
                f"{name}: must be a list of {{image_id, category_id, bbox, score}} (COCO results)."
            )
        self.entries = entries
        self.name = name

    def __getitem__(self, key: str) -> list[Any]:
        try:
            return list(map(itemgetter(key), self.entries))
        except (KeyError, TypeError, IndexError):
            return [self._field(number, key) for number in range(len(self.entries))]

    def _field(self, number: int, key: str) -> Any:
        entry = self.entries[number]
        if not isinstance(entry, Mapping) or key not in entry:
            raise DataError(f"{self.name}: result {number} has no field '{key}'.")
        return entry[key]


def _detections(columns: Columns, ground_truth: GroundTruth, name: str) -> Detections:
    image = _indices(columns, "image_id", ground_truth.image_ids, name, "images")
    category = _indices(columns, "category_id", ground_truth.category_ids, name, "categories")
    boxes = _boxes(columns["bbox"], name)
    scores = columns["score"]
    try:
        scores = np.array(scores).astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name}: a score is not a number.") from error
    if scores.ndim != 1:
        raise DataError(f"{name}: a score is not a number.")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError(
            f"{name}: result {bad[0]} has the score {scores[bad[0]]}; it must be finite."
        )
    limits = (ground_truth.image_sizes + _OUTSIDE_TOLERANCE).take(image, 0)
    ends = boxes[:, :2] + boxes[:, 2:]
    outside = np.flatnonzero(_either(boxes[:, :2] > limits) | _either(ends < -_OUTSIDE_TOLERANCE))
    if len(outside):
        first = outside[0]
        width, height = ground_truth.image_sizes[image[first]]
        raise DataError(
            f"{name}: result {first} has the bbox {boxes[first].tolist()}, wholly outside its "
            f"image {columns['image_id'][first]!r} of {width:g} x {height:g} pixels "
            f"({len(outside)} such results); x, y, width, height in native pixels are needed."
        )
    _refuse_corners(boxes, np.flatnonzero(_either(ends > limits)), limits, name)
    if len(scores) and scores.max() > 1:
        logger.warning(
            "%s: has scores above 1, up to %g: at a score threshold of 1 and less all count.",
            name,
            scores.max(),
        )
    return Detections(image=image, category=category, boxes=boxes, scores=scores)


def _indices(
    columns: Columns,
    key: str,
    known: tuple[int | str, ...],
    name: str,
    where: str,
) -> Array:
    ids, values = Ids(known), columns[key]
    indices = ids.find_all(values)
    if indices is not None:
        return indices
    found = [ids.find(value) for value in values]
    if None in found:
        number = found.index(None)
        raise DataError(
            f"{name}: result {number} has {key} {values[number]!r}, which is not among the "
            f"{len(ids)} {where} of the annotations."
        )
    return np.array(found, dtype=np.int64)


def _boxes(rows: list[Any], name: str) -> Array:
    try:
        if {4}.issuperset(map(len, rows)):  # three times as fast as an array of the rows
            boxes = np.fromiter(chain.from_iterable(rows), np.float64, 4 * len(rows))
        else:
            boxes = np.array(rows, dtype=np.float64)
        boxes = boxes.reshape(len(rows), 4)
    except (TypeError, ValueError, OverflowError) as error:
        number = next((n for n, row in enumerate(rows) if box_of(row) is None), 0)
        raise DataError(
            f"{name}: result {number} has the bbox {rows[number]!r}; "
            "four numbers x, y, width, height are needed."
        ) from error
    wrong = ~np.isfinite(boxes)
    wrong[:, 2:] |= boxes[:, 2:] < 0
    if wrong.any():
        first = np.flatnonzero(wrong.any(1))[0]
        raise DataError(
            f"{name}: result {first} has the bbox {boxes[first].tolist()}; x, y, width, height "
            "must be finite, width and height not negative."
        )
    return boxes


def _either(sides: Array) -> Array:
    """(D,) of (D, 2) bool. NaN, an image of unknown size, compares as False: nothing is refused."""
    return sides[:, 0] | sides[:, 1]


def _refuse_corners(boxes: Array, leaving: Array, limits: Array, name: str) -> None:
    """Refuse boxes of which many leave their image, but none as corners."""
    if len(leaving) < max(_MANY_OUTSIDE, _OUTSIDE_SHARE * len(boxes)):
        return
    if ((boxes[:, :2] <= boxes[:, 2:]) & (boxes[:, 2:] <= limits)).all():
        first = leaving[0]
        raise DataError(
            f"{name}: has boxes that leave their image, but fit as corners [x1, y1, x2, y2]: "
            f"{len(leaving)} (result {first} with the bbox {boxes[first].tolist()}); x, y, width, "
            "height are needed."
        )
