"""What a check of a data set found."""

import os
from dataclasses import dataclass, field

from detectron2.data import MetadataCatalog

from scb_d2.data.reader.tally import Finding
from scb_d2.errors import DataError

__all__ = ["DatasetReport", "missing_builtin"]

_FAULTY_CLASSES = ("incomplete-category", "duplicate-category-id")


@dataclass(frozen=True)
class DatasetReport:
    """Result of checking one data set.

    Attributes:
        name: the registered name.
        classes: class names in the order of the model's outputs; None where they are not known.
        num_images: number of images.
        num_annotations: number of annotations, crowd and difficult ones included.
        findings: what was found, in the order of the checks.
    """

    name: str
    classes: list[str] | None = None
    num_images: int = 0
    num_annotations: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def lacks_classes(self) -> bool:
        """Whether it has none, or some are faulty and so left out."""
        return self.classes == [] or any(
            finding.code in _FAULTY_CLASSES for finding in self.findings
        )

    def raise_first_error(self) -> None:
        """Raise the first finding of severity ``error``, if there is one.

        Raises:
            DataError: with the finding's message.
        """
        for finding in self.findings:
            if finding.severity == "error":
                raise DataError(finding.message)


def missing_builtin(name: str) -> DatasetReport | None:
    """A report if the data set is one of Detectron2's own and its file is absent."""
    meta = MetadataCatalog.get(name)
    path = meta.get("json_file")
    if meta.get("evaluator_type") == "pascal_voc":
        path = os.path.join(meta.dirname, "ImageSets", "Main", f"{meta.split}.txt")
    variable = os.getenv("DETECTRON2_DATASETS")
    root = os.path.expanduser(variable or "datasets")
    own = path is None or meta.get("scb_source") is not None
    if own or os.path.exists(path) or not path.startswith(os.path.join(root, "")):
        return None
    where = f"is {variable!r}" if variable else "is not set, which stands for './datasets'"
    message = (
        f"The data set {name!r} needs {path}, which does not exist; the environment variable "
        f"DETECTRON2_DATASETS {where}."
    )
    return DatasetReport(name, findings=[Finding("error", "missing-builtin", message)])
