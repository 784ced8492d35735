"""What a check of a data set found: severity, count and first examples of each kind."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scb_d2.errors import DataError

__all__ = ["DatasetReport", "Finding", "Severity", "Tally"]

Severity = Literal["error", "warning", "note"]

_MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in a data set.

    Attributes:
        severity: ``error`` stops a run, ``warning`` is logged, ``note`` is for a full report.
        code: stable short name of the kind, such as ``duplicate-image-id``.
        message: one sentence that names the file and the first examples.
        count: how often it was found.
        examples: the first of them, as text.
    """

    severity: Severity
    code: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()


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


class Tally:
    """Counts what is found in one file, by kind, keeping the first examples.

    Args:
        subject: start of every message, such as ``The annotation file a.json``.
        rules: for each code its severity and predicate ("has ..."), in the order of the report.
    """

    def __init__(self, subject: str, rules: Mapping[str, tuple[Severity, str]]) -> None:
        self._subject = subject
        self._rules = rules
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, code: str, example: str) -> None:
        """Count one occurrence of ``code``."""
        self._counts[code] += 1
        if len(self._examples[code]) < _MAX_EXAMPLES:
            self._examples[code].append(example)

    def findings(self) -> list[Finding]:
        """One finding per kind counted, in the order of the rules."""
        found = []
        for code, (severity, predicate) in self._rules.items():
            count = self._counts[code]
            if not count:
                continue
            examples = tuple(self._examples[code])
            more = ", ..." if count > len(examples) else ""
            message = f"{self._subject} {predicate}: {count} ({', '.join(examples)}{more})."
            found.append(Finding(severity, code, message, count, examples))
        return found
