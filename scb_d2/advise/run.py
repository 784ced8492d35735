"""From a config to ranked advice.

``scb-d2 advise`` on the command line; in Python::

    advice = advise("my_config.yaml")
    for finding in advice.findings:
        print(finding.title)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .anchors import advise_anchors
from .caps import advise_caps
from .classes import advise_classes
from .finding import Change, Finding
from .imbalance import advise_imbalance
from .input_size import advise_input_size
from .recipe import advise_recipe
from .situation import Matched, Situation, load_situation
from .thresholds import advise_thresholds

__all__ = ["Advice", "advise", "find_all", "merged"]


@dataclass(frozen=True)
class Advice:
    """Findings about a config, the one that concerns most objects first.

    Attributes:
        situation: what was counted.
        findings: ranked.
        recall_now: best possible recall in all and by size of today's input; None where the
            detector matches no anchors.
        recall_then: the same where all advice is followed; None where that changes nothing of it.
    """

    situation: Situation
    findings: tuple[Finding, ...]
    recall_now: dict[str, float] | None
    recall_then: dict[str, float] | None

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every key to change where all advice is followed at once, each once."""
        return merged([c for finding in self.findings for c in finding.changes_together])

    def to_json(self) -> dict[str, Any]:
        """Every number and sentence."""
        situation = self.situation
        return {
            "config_file": situation.config_file,
            "overrides": list(situation.opts),
            "datasets": list(situation.dataset_names),
            "detector": type(situation.setup.model).__name__,
            "images": situation.data.num_images,
            "objects": len(situation.data),
            "images_matched": situation.num_sampled,
            "best_possible_recall": {"now": self.recall_now, "then": self.recall_then},
            "findings": [finding.to_json() for finding in self.findings],
        }


def advise(
    config_file: str,
    opts: Sequence[str] = (),
    *,
    datasets: Sequence[str] = (),
    max_images: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> Advice:
    """Look for every cause of lost objects that a config and annotations can show.

    Arguments and errors as of :func:`scb_d2.advise.situation.load_situation`.
    """
    situation = load_situation(
        config_file,
        opts,
        datasets=datasets,
        max_images=max_images,
        seed=seed,
        progress=progress,
    )
    findings, matched = find_all(situation)
    now = then = None
    if situation.matched is not None:
        sizes = situation.matched.counts.sizes
        now = situation.matched.counts.recall(sizes)
        then = None if matched is None else matched.counts.recall(sizes)
    return Advice(situation, findings, now, then)


def find_all(situation: Situation) -> tuple[tuple[Finding, ...], Matched | None]:
    """All findings that apply, the one that concerns most objects first.

    Returns:
        The findings, and matches where all advice is followed; None where that changes none.
    """
    input_size, enlarged = advise_input_size(situation)
    anchors, then = advise_anchors(situation, enlarged), None
    moving = [f for f in (input_size, anchors) if f is not None]
    changes = merged([c for finding in moving for c in finding.changes_together])
    if changes and situation.matched is not None:
        then = situation.match_again(changes, "all advice")
    found = [
        input_size,
        anchors,
        advise_imbalance(situation, then),
        *advise_caps(situation, then),
        *advise_thresholds(situation),
        *advise_classes(situation),
        *advise_recipe(situation),
    ]
    kept = [finding for finding in found if finding is not None]
    return tuple(sorted(kept, key=lambda finding: -finding.concerns)), then


def merged(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Each key once; of two numbers for a key the larger, which gives room to both."""
    by_key: dict[str, Change] = {}
    for change in changes:
        known = by_key.get(change.key)
        if known is None or (isinstance(change.value, int | float) and change.value > known.value):
            by_key[change.key] = change
    return tuple(by_key.values())
