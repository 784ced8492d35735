"""What a finding says, whatever it is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Change", "Finding", "Setting"]


@dataclass(frozen=True)
class Setting:
    """A value of a config and the key under which the user finds it."""

    key: str
    value: Any


@dataclass(frozen=True)
class Change:
    """One key of a config and the value to give it.

    Attributes:
        key: dotted, as the user writes it.
        value: plain Python value.
        reason: one line.
        evaluation: whether it changes how detections are counted and not the detector, so that
            arms of an experiment must share it.
    """

    key: str
    value: Any
    reason: str
    evaluation: bool = False


@dataclass(frozen=True)
class Finding:
    """One cause of lost objects that was measured, and what to do about it.

    Attributes:
        code: name of the kind of finding, and of its arm in the plan.
        title: the advice in a few words.
        measured: what was counted, in sentences.
        why: why it matters.
        expected: what is expected to change.
        cost: what that costs.
        concerns: share of the objects that it concerns (of the loss: that the smallest lack), in
            [0, 1]; findings are ranked by it.
        changes: keys to change, none where no key mends it.
        together: keys to change where all advice is followed at once, if these differ.
        action: what to do beside, or in place of, changing keys.
    """

    code: str
    title: str
    measured: str
    why: str
    expected: str
    cost: str
    concerns: float
    changes: tuple[Change, ...] = ()
    together: tuple[Change, ...] | None = None
    action: str = ""

    @property
    def changes_together(self) -> tuple[Change, ...]:
        """Keys to change where all advice is followed at once."""
        return self.changes if self.together is None else self.together

    def to_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)
