"""Whether data sets and the model have the same classes."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from scb_d2.data.reader.catalog import dataset_categories
from scb_d2.errors import DataError

from .report import DatasetReport

__all__ = [
    "check_class_count",
    "check_reported_classes",
    "check_same_classes",
    "dataset_classes",
    "num_classes_key",
]


def dataset_classes(name: str) -> list[str]:
    """Class names of a registered data set, in the order of the model's outputs.

    Raises:
        DataError: if they are neither in the metadata nor in a readable file.
    """
    return dataset_categories(name)[0]


def check_class_count(num_classes: int, dataset_names: Sequence[str], key: str) -> None:
    """Check that a model has as many classes as its data.

    Args:
        num_classes: the model's number of foreground classes.
        dataset_names: registered names.
        key: the config key (or constructor argument) that sets ``num_classes``.

    Raises:
        DataError: if the numbers differ; names both and the key.
    """
    reports = [DatasetReport(name, dataset_classes(name)) for name in dataset_names]
    check_reported_classes(num_classes, reports, key)


def check_reported_classes(num_classes: int, reports: Sequence[DatasetReport], key: str) -> None:
    """As :func:`check_class_count`, of data sets that were checked already."""
    for report in reports:
        if report.classes is not None and len(report.classes) != num_classes:
            raise DataError(
                f"The model has {num_classes} classes and the data set {report.name!r} has "
                f"{len(report.classes)}: set {key} to {len(report.classes)}."
            )


def check_same_classes(reports: Sequence[DatasetReport]) -> None:
    """Check that data sets have the same classes in the same order.

    Raises:
        DataError: naming two data sets and how their classes differ.
    """
    known = [report for report in reports if report.classes is not None]
    for other in known[1:]:
        first = known[0]
        if other.classes == first.classes:
            continue
        differing = sorted(set(first.classes) ^ set(other.classes))
        what = f"{', '.join(map(repr, differing[:4]))} only in one" if differing else "their order"
        raise DataError(
            f"The data sets {first.name!r} ({len(first.classes)} classes) and {other.name!r} "
            f"({len(other.classes)} classes) must have the same classes in the same order, and "
            f"they differ: {what}."
        )


def num_classes_key(cfg: CfgNode) -> str | None:
    """The key that holds the number of classes of the configured architecture.

    ``MODEL.<NAME>.NUM_CLASSES`` for an architecture that ends in that name, as ``RetinaNet`` and
    ``SSD`` do, or is derived from one; ``MODEL.ROI_HEADS.NUM_CLASSES`` for those with ROI heads;
    None for others.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    known = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    bases = [base.__name__ for base in known.__mro__] if isinstance(known, type) else []
    for architecture in (name, *bases):
        named = [
            key
            for key, node in cfg.MODEL.items()
            if isinstance(node, CfgNode)
            and "NUM_CLASSES" in node
            and architecture.lower().endswith(key.lower())
        ]
        if named:
            return f"MODEL.{max(named, key=len)}.NUM_CLASSES"
        if architecture.endswith(("RCNN", "PanopticFPN")):
            return "MODEL.ROI_HEADS.NUM_CLASSES"
    return None
