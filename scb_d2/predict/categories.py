"""Names and ids of a model's classes, from its data sets."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from detectron2.data import DatasetCatalog

from scb_d2.data.reader.catalog import dataset_categories
from scb_d2.errors import UserError

__all__ = ["Categories", "find_categories"]


class Categories(NamedTuple):
    """Classes in the order of the model's outputs; empty where nothing is known of them.

    Attributes:
        names: class names.
        ids: the data set's category ids.
    """

    names: list[str]
    ids: list[int | str]

    def name(self, class_index: int) -> str:
        """Name of a class, or ``class <index>``."""
        known = class_index < len(self.names)
        return self.names[class_index] if known else f"class {class_index}"

    def coco_category(self, class_index: int) -> dict[str, Any]:
        """``category_id`` (the index where no id is known) and ``category_name`` of a class."""
        known = class_index < len(self.ids)
        category_id = self.ids[class_index] if known else class_index
        return {"category_id": category_id, "category_name": self.name(class_index)}


def find_categories(dataset_names: Iterable[str]) -> Categories:
    """Categories of the first of these data sets that tells them.

    The data need not be on this machine; without it the classes stay nameless.
    """
    for dataset in dataset_names:
        if dataset not in DatasetCatalog:
            continue
        try:
            return Categories(*dataset_categories(dataset))
        except UserError:
            continue
    return Categories([], [])
