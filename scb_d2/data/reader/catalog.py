"""Registered data sets, by name, as canonical records."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import coco as stock_coco

from scb_d2.errors import DataError
from scb_d2.utils.user_errors import user_sentence

from .coco import read_categories, read_coco
from .ground_truth import GroundTruth, columns_of
from .records import Records
from .registered import canonical_records
from .voc import read_voc
from .yolo import yolo_classes

__all__ = [
    "READ_KINDS",
    "CanonicalLoader",
    "dataset_categories",
    "ground_truth_of",
    "load_through_reader",
    "read_dataset",
    "reading_once",
    "records_of",
    "training_dicts",
]

_READ: ContextVar[dict[str, Any] | None] = ContextVar("records read ahead", default=None)

READ_KINDS = ("coco", "pascal_voc")
"""Kinds of evaluation that read the records; the others, such as LVIS, have files of their own."""


class CanonicalLoader:
    """What Detectron2's ``DatasetCatalog`` calls for a data set that is read by the reader."""

    def __init__(self, name: str, source: Callable[[], Any], from_file: bool = True) -> None:
        """Take what reads a data set.

        Args:
            name: its registered name.
            source: gives :class:`Records`, or dicts in Detectron2's format; anything else is
                passed on as it is, and so are dicts that are not evaluated by the records.
            from_file: whether it stands for what it is evaluated on, as one that is read from the
                file that the metadata name.
        """
        self.name = name
        self.source = source
        self.from_file = from_file

    def __call__(self) -> Any:
        """The records of a sound data set.

        Like Detectron2's own reader this puts ``thing_classes`` and
        ``thing_dataset_id_to_contiguous_id`` into the metadata. Records that
        :func:`reading_once` keeps are handed over: the next call reads again.

        Raises:
            DataError: if it cannot be read, or has a fault.
        """
        found = self.read()
        (_READ.get() or {}).pop(self.name, None)
        return _dicts(self.name, found)

    def read(self) -> Any:
        """The records, with what is faulty in them, or what is passed on."""
        kept = _READ.get()
        if kept is not None and self.name in kept:
            return kept[self.name]
        found = self._ask_source()
        if isinstance(found, list) and _kind(self.name) in READ_KINDS:
            classes = MetadataCatalog.get(self.name).get("thing_classes")
            found = canonical_records(self.name, found, classes)
        if kept is not None and isinstance(found, Records | list):
            kept[self.name] = found
        return found

    def _ask_source(self) -> Any:
        try:
            return self.source()
        except ModuleNotFoundError as error:
            raise DataError(
                f"The data set {self.name!r} needs the Python package {error.name}, which is not "
                "installed."
            ) from error
        except Exception as error:  # of Detectron2's own readers, or code of the user's own
            if user_sentence(error) is not None:
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise DataError(
                f"The data set {self.name!r} cannot be read: {frame.filename}, line "
                f"{frame.lineno}, raised {type(error).__name__}: {' '.join(str(error).split())}."
            ) from error


@contextmanager
def reading_once() -> Iterator[dict[str, Any]]:
    """Read no data set twice: what is read in this context is kept until it is trained on.

    Yields:
        What is kept, by name; clear it where nothing will be trained on here.
    """
    token = _READ.set({})
    try:
        yield _READ.get()
    finally:
        _READ.reset(token)


def read_dataset(name: str) -> Records:
    """Read a registered data set, whatever it is registered by.

    Files in COCO's or VOC's layout are read by this package; what other code registers is asked
    for its dicts, which are brought into canonical form.

    Raises:
        DataError: if it cannot be read. Faults of single entries are in the records' tally.
    """
    found = _loader(name).read()
    if isinstance(found, list):
        found = canonical_records(name, found, MetadataCatalog.get(name).get("thing_classes"))
    if not isinstance(found, Records):
        raise DataError(
            f"The data set {name!r} is no list of dicts in Detectron2's format but a "
            f"{type(found).__name__}, which can be trained on and nothing else."
        )
    return found


def training_dicts(name: str) -> Any:
    """What training gets of a data set, which stays kept in :func:`reading_once`.

    Raises:
        DataError: as :func:`read_dataset`, and for any fault.
    """
    return _dicts(name, _loader(name).read())


def _dicts(name: str, found: Any) -> Any:
    if not isinstance(found, Records):
        return found
    _name_classes(name, found)
    return found.refuse_faults().images


def records_of(name: str) -> Records:
    """What a registered data set is evaluated on: its COCO file where it names one.

    Raises:
        DataError: as :func:`read_dataset`, and for any fault.
    """
    meta = MetadataCatalog.get(name)
    if meta.get("json_file") and not _loader(name).from_file:
        records = read_coco(meta.json_file, meta.get("image_root"), with_images=False)
        ids = meta.get("thing_dataset_id_to_contiguous_id")
        return _in_order(records.refuse_faults(), ids or {})
    return read_dataset(name).refuse_faults()


def _in_order(records: Records, class_of_id: Mapping[int | str, int]) -> Records:
    """Records whose classes are in the order that code registered, where it did."""
    if sorted(class_of_id, key=class_of_id.get) == records.category_ids or not class_of_id:
        return records
    names = dict(zip(records.category_ids, records.class_names, strict=True))
    category_ids = sorted(class_of_id, key=class_of_id.get)
    for image in records.images:
        image["annotations"] = [
            {**a, "category_id": class_of_id[records.category_ids[a["category_id"]]]}
            for a in image["annotations"]
            if records.category_ids[a["category_id"]] in class_of_id
        ]
    class_names = [names.get(key, str(key)) for key in category_ids]
    return replace(records, class_names=class_names, category_ids=category_ids)


def ground_truth_of(name: str) -> GroundTruth:
    """Objects of a registered data set in columns; see :func:`records_of`."""
    return columns_of(records_of(name))


def dataset_categories(name: str) -> tuple[list[str], list[int | str]]:
    """Class names of a registered data set in the order of the model's outputs, and their ids.

    Reads the categories only, and only where the metadata lack them.

    Raises:
        DataError: if they are neither in the metadata nor in a readable file.
    """
    meta = MetadataCatalog.get(name)
    names, ids = meta.get("thing_classes"), meta.get("thing_dataset_id_to_contiguous_id")
    if names is not None and ids is not None:
        return list(names), sorted(ids, key=ids.get)
    source = meta.get("scb_source") or {}
    if source.get("FORMAT") == "shapes":
        return list(names), list(range(1, len(names) + 1))
    if meta.get("json_file"):
        found = read_categories(meta.json_file)
        return (found[0] if names is None else list(names)), found[1]
    if source.get("FORMAT") == "yolo":
        names = yolo_classes(source["DATA"])
    if names is None:
        raise DataError(f"The data set {name!r} has no class names (thing_classes) registered.")
    return list(names), list(range(len(names)))


def load_through_reader(names: Iterable[str]) -> None:
    """Let Detectron2's own loaders get these data sets from the reader too.

    Their entries in ``DatasetCatalog`` are registered anew. Names that are not registered are
    left alone; the dicts of data sets whose evaluation has files of its own (LVIS, Cityscapes) are
    passed on as they are.
    """
    for name in names:
        if name not in DatasetCatalog:
            continue
        loader = _loader(name)
        if DatasetCatalog[name] is not loader:
            DatasetCatalog.remove(name)
            DatasetCatalog.register(name, loader)


def _kind(name: str) -> str:
    return MetadataCatalog.get(name).get("evaluator_type", "coco")


def _loader(name: str) -> CanonicalLoader:
    """The loader of a registered data set, or one around it."""
    loader, meta = DatasetCatalog[name], MetadataCatalog.get(name)
    if isinstance(loader, CanonicalLoader):
        return loader
    # What Detectron2's register_coco_instances makes, and the metadata of register_pascal_voc.
    module = getattr(loader, "__module__", None) or ""  # None: made by a LazyConfig
    if module == stock_coco.__name__ and _kind(name) == "coco" and meta.get("json_file"):
        return CanonicalLoader(name, lambda: read_coco(meta.json_file, meta.image_root))
    named = all(meta.get(key) for key in ("dirname", "split", "thing_classes"))
    # A part of a data set, made by this package, has the metadata of the whole.
    is_part = module.startswith(f"{__name__.partition('.')[0]}.")
    if named and not meta.get("json_file") and not is_part:
        return CanonicalLoader(name, lambda: read_voc(meta.dirname, meta.split, meta.thing_classes))
    return CanonicalLoader(name, loader, from_file=is_part)


def _name_classes(name: str, records: Records) -> None:
    meta = MetadataCatalog.get(name)
    if meta.get("thing_classes") is None and records.class_names:
        meta.thing_classes = list(records.class_names)
    if meta.get("thing_dataset_id_to_contiguous_id") is None and meta.get("json_file"):
        ids = {key: n for n, key in enumerate(records.category_ids)}
        meta.thing_dataset_id_to_contiguous_id = ids
