"""What a check of a data set found."""

from dataclasses import dataclass, field

from scb_d2.data.reader.tally import Finding
from scb_d2.errors import DataError

__all__ = ["DatasetReport"]


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

    def raise_first_error(self) -> None:
        """Raise the first finding of severity ``error``, if there is one.

        Raises:
            DataError: with the finding's message.
        """
        for finding in self.findings:
            if finding.severity == "error":
                raise DataError(finding.message)
