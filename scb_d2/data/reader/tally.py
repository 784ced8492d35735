"""What is found in a data set: kinds with a severity, a count and first examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Rules", "Severity", "Tally"]

Severity = Literal["error", "warning", "note"]
Rules = Mapping[str, tuple[Severity, str]]
"""For each code its severity and predicate ("has ..."), in the order of reports."""

_MAX_EXAMPLES = 5
_LONGEST = 250  # letters of an example


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


class Tally:
    """Counts what is found in one data set, by kind, keeping the first examples.

    Args:
        subject: start of every message, such as ``The annotation file a.json``.
        rules: the kinds there are.
    """

    def __init__(self, subject: str, rules: Rules) -> None:
        self.subject = subject
        self._rules = rules
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, code: str, example: str) -> None:
        """Count one occurrence of ``code``."""
        self._counts[code] += 1
        if len(self._examples[code]) < _MAX_EXAMPLES:
            self._examples[code].append(_one_line(example))

    def count(self, code: str) -> int:
        """How often ``code`` was found."""
        return self._counts[code]

    def findings(self) -> list[Finding]:
        """One finding per kind counted, in the order of the rules."""
        found = []
        for code, (severity, predicate) in self._rules.items():
            count = self._counts[code]
            if not count:
                continue
            examples = tuple(self._examples[code])
            more = ", ..." if count > len(examples) else ""
            message = f"{self.subject} {predicate}: {count} ({', '.join(examples)}{more})."
            found.append(Finding(severity, code, message, count, examples))
        return found


def _one_line(text: str) -> str:
    """A text of a file, which may hold line ends and what terminals obey, and be of any length."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
