"""A data set as COCO's evaluation can take it, whatever its own ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycocotools.coco import COCO

from scb_d2.data.reader.ground_truth import coco_of
from scb_d2.data.reader.records import Records
from scb_d2.errors import DataError

__all__ = ["NumberedCOCO", "UnknownClassError"]


class UnknownClassError(DataError, AssertionError):
    """The model predicts a class that the data set lacks; Detectron2 raises an AssertionError."""


class NumberedCOCO:
    """Ground truth whose images, annotations and categories are numbered from 1.

    Implementations of COCO's evaluation differ in which ids they can take: pycocotools counts a
    hit of annotation 0 as a miss, others need small numbers above 0.

    Attributes:
        api: the ground truth, numbered in the order of the records.
    """

    def __init__(self, records: Records, name: str) -> None:
        """Number a data set.

        Args:
            records: the data set.
            name: its registered name, for sentences.
        """
        self._name = name
        self._numbers = {image["image_id"]: n for n, image in enumerate(records.images, start=1)}
        self._category_ids = records.category_ids
        self.api = COCO()
        self.api.dataset = coco_of(records, numbered=True)
        self.api.createIndex()

    def image_number(self, image_id: int | str) -> int:
        """Number of an image."""
        return self._numbers[image_id]

    def numbered(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Results of a model, with its class indices, by the numbers of :attr:`api`."""
        return [
            {
                **row,
                "image_id": self._numbers[row["image_id"]],
                "category_id": row["category_id"] + 1,
            }
            for row in rows
        ]

    def in_own_ids(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Results of a model, with its class indices, by the category ids of the data set.

        Raises:
            UnknownClassError: a class index is none of the data set's.
        """
        ids = self._category_ids
        for row in rows:
            if not 0 <= row["category_id"] < len(ids):
                raise UnknownClassError(
                    f"the model predicts the class {row['category_id']}, but {self._name} has "
                    f"{len(ids)} classes, which are numbered from 0 to {len(ids) - 1}."
                )
        return [{**row, "category_id": ids[row["category_id"]]} for row in rows]
