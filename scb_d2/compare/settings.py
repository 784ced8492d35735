"""How two arms are compared: what a plan or flags choose, over what the runs measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from detectron2.config import CfgNode

from scb_d2.config import get_cfg
from scb_d2.errors import ConfigError
from scb_d2.evaluation.recall import RecallSettings
from scb_d2.evaluation.recall_evaluator import recall_settings
from scb_d2.evaluation.size_bins import SizeBins

from .metrics import Metric, list_metrics
from .operating_point import OperatingPoint
from .runs import Run

__all__ = ["CompareChoices", "CompareSettings", "agreed_recall", "recall_of_runs"]


@dataclass
class CompareChoices:
    """The section `compare` of a plan, and the flags of `scb-d2 compare`.

    What is None is as the runs' own `TEST.RECALL` says.

    Attributes:
        primary: metric of the main verdict; None: AP of the smallest objects.
        dataset: which data set, where the runs were evaluated on several.
        areas: inner limits of the size bins, square pixels.
        area: rule that measures an object, see :data:`scb_d2.evaluation.size_bins.AREA_RULES`.
        iou: lowest IoU of a match.
        match: rule of matching.
        thresholds: scores at which recall and false positives are given for context.
        fp_per_image: false positives per image at which recall is given for context.
        recall_at: operating point at which recall is judged, see :class:`OperatingPoint`.
        confidence: of the intervals, in (0, 1).
        resamples: of the bootstrap; 0 leaves it out.
        confirmatory: [baseline, candidate] whose primary metric needs no adjustment; None: the
            first arm with the second. A plan's alone.
    """

    primary: str | None = None
    dataset: str | None = None
    areas: list[float] | None = None
    area: str | None = None
    iou: float | None = None
    match: str | None = None
    thresholds: list[float] | None = None
    fp_per_image: list[float] | None = None
    recall_at: str = "baseline@0.3"
    confidence: float = 0.95
    resamples: int = 1000
    confirmatory: list[str] | None = None

    def check(self) -> None:
        """Find wrong values before the runs are there.

        Raises:
            ConfigError: a value is out of range.
        """
        # Sizes other than three are named by their limits, which the runs may decide.
        of_runs = self.areas is None and "-" in (self.primary or "")
        (replace(self, primary=None) if of_runs else self).settings()

    def settings(self, recall: RecallSettings | None = None, pictures: int = 8) -> CompareSettings:
        """The settings that these choices make of what the runs measured.

        Args:
            recall: of the runs, from :func:`recall_of_runs`.
            pictures: most pictures.

        Raises:
            ConfigError: a value is out of range.
        """
        chosen = {key: getattr(self, key) for key in ("iou", "match", "area")}
        for key in ("thresholds", "fp_per_image"):
            values = getattr(self, key)
            chosen[key] = None if values is None else tuple(values)
        if self.areas is not None:
            chosen["bins"] = SizeBins(tuple(self.areas))
        return CompareSettings(
            recall=replace(
                recall or RecallSettings(),
                **{key: value for key, value in chosen.items() if value is not None},
            ),
            primary=self.primary,
            recall_at=OperatingPoint.parse(self.recall_at),
            confidence=self.confidence,
            resamples=self.resamples,
            pictures=pictures,
        )


@dataclass(frozen=True)
class CompareSettings:
    """How two arms are compared.

    Attributes:
        recall: what is measured of each run.
        primary: name of the metric that the main verdict is on; None: `APs`, AP of the smallest
            objects.
        recall_at: where recall is judged, and objects are called gained or lost.
        confidence: of the intervals, in (0, 1).
        resamples: of the bootstrap; 0 leaves it out.
        seed: of its random draws.
        pictures: most pictures.

    Raises:
        ConfigError: a value is out of range.
    """

    recall: RecallSettings = field(default_factory=RecallSettings)
    primary: str | None = None
    recall_at: OperatingPoint = field(default_factory=lambda: OperatingPoint("baseline", 0.3))
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    pictures: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence {self.confidence}: must lie between 0 and 1.")
        if self.resamples < 0 or self.pictures < 0:
            raise ConfigError("resamples and pictures: must not be negative.")
        if self.recall_at.kind == "score":
            raise ConfigError(
                f"recall_at {self.recall_at}: recall at a fixed score rises with the scores, so no "
                "verdict is drawn from it; give fp@FALSE_POSITIVES_PER_IMAGE or baseline@SCORE."
            )
        list_metrics(self.recall, self.recall_at, self.primary)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is compared, the primary metric first."""
        return list_metrics(self.recall, self.recall_at, self.primary)


def recall_of_runs(runs: Iterable[Run], chosen: CompareChoices) -> RecallSettings:
    """What the runs' own `TEST.RECALL` says, defaults where a run has no config.

    Args:
        runs: of both arms.
        chosen: its values need not agree between the runs.

    Raises:
        ConfigError: two runs measure differently, or a value is wrong; the sentence names the key.
    """
    said = ((run.name, (run.config.get("TEST") or {}).get("RECALL") or {}) for run in runs)
    return agreed_recall(said, chosen)


def agreed_recall(
    said: Iterable[tuple[str, Mapping[str, Any]]], chosen: CompareChoices
) -> RecallSettings:
    """What runs measure by the sections `TEST.RECALL` of their configs.

    Args:
        said: each run's name and section.
        chosen: its values need not agree between the runs.

    Raises:
        ConfigError: two runs measure differently, or a value is wrong; the sentence names the key.
    """
    found: dict[str, tuple[str, Any]] = {}
    chosen_keys = {f.name for f in fields(chosen) if getattr(chosen, f.name) is not None}
    for name, section in said:
        for key, value in section.items():
            first, known = found.setdefault(key, (name, value))
            flag = {"AREA_EDGES": "areas"}.get(key, key.lower())
            if known != value and flag not in chosen_keys and key != "ENABLED":
                raise ConfigError(
                    f"TEST.RECALL.{key} is {known!r} in {first} and {value!r} in {name}: "
                    f"say what holds, by the flag or the plan's key {flag!r}."
                )
    cfg = get_cfg()
    known_keys = {key: value for key, (_, value) in found.items() if key in cfg.TEST.RECALL}
    cfg.merge_from_other_cfg(CfgNode({"TEST": {"RECALL": known_keys}}))
    return recall_settings(cfg)
