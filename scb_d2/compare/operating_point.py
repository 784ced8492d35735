"""Which detections of a run are kept when its recall is taken."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import numpy as np

from scb_d2.errors import ConfigError
from scb_d2.evaluation.recall_curve import RecallCurve

__all__ = ["OperatingPoint"]

_KINDS = ("score", "fp", "baseline")
_WRITTEN = re.compile(rf"({'|'.join(_KINDS)})@(\S+)")


@dataclass(frozen=True)
class OperatingPoint:
    """Where recall is taken, written `kind@value`.

    Attributes:
        kind: `score`: detections from the score `value` on. `fp`: by falling score, within `value`
            false positives per image of the size in question. `baseline`: the baseline of a pair
            from the score `value` on, the candidate within as many false positives per image of
            that size as the baseline makes there.
        value: a score, or false positives per image.

    Raises:
        ConfigError: the kind is unknown, or the value negative or not finite.
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or not 0 <= self.value < float("inf"):
            raise ConfigError(
                f"operating point {self}: must be score@SCORE, fp@FALSE_POSITIVES_PER_IMAGE or "
                "baseline@SCORE, with a finite number >= 0."
            )

    @classmethod
    def parse(cls, text: str) -> OperatingPoint:
        """From `baseline@0.3` and the like."""
        found = _WRITTEN.fullmatch(text)
        try:
            return cls(found[1], float(found[2])) if found else cls(text, float("nan"))
        except ValueError:
            return cls(text, float("nan"))

    def __str__(self) -> str:
        return self.kind if self.value != self.value else f"{self.kind}@{self.value:g}"

    def describe(self) -> str:
        """In words."""
        if self.kind == "score":
            return f"detections of score ≥ {self.value:g}"
        if self.kind == "fp":
            return f"detections within {self.value:g} false positives per image of the size"
        return (
            f"the baseline's detections of score ≥ {self.value:g}; the candidate's within as many "
            "false positives per image of the size as these hold"
        )

    def lowest_score(self, size: int, curve: RecallCurve, baseline: RecallCurve) -> float:
        """Detections are kept from this score on (inclusive).

        Args:
            size: whose false positives limit it; 0: those of all sizes, b + 1: of bin b.
            curve: of the run in question.
            baseline: of its pair's baseline, `curve` itself for the baseline.
        """
        if self.kind == "score" or (self.kind == "baseline" and curve is baseline):
            # The baseline's own point: the nearest below could differ where scores tie.
            return self.value
        allowed = self.value
        if self.kind == "baseline":
            made = baseline.false_positives(self.value, size)
            allowed = made / max(baseline.num_images, 1)
        above = curve.score_beyond(allowed, size)
        # Finite, since an object that nothing finds has the score -inf.
        return -sys.float_info.max if above is None else float(np.nextafter(above, np.inf))

    def recall(self, size: int, curve: RecallCurve, baseline: RecallCurve) -> float:
        """Recall of a size in percent; arguments as in :meth:`lowest_score`."""
        return curve.recall(self.lowest_score(size, curve, baseline), size)
