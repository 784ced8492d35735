"""Whether objects of different sizes match evenly, and whether the loss should be weighted."""

from __future__ import annotations

from dataclasses import replace

from scb_d2.matches.report import weight_shares
from scb_d2.matches.verdict import Verdict, give_verdict

from .evidence import evidence_sentence
from .finding import Finding
from .situation import Matched, Situation

__all__ = ["advise_imbalance"]

_WORTH_IT = ("clear", "some")


def advise_imbalance(situation: Situation, then: Matched | None = None) -> Finding | None:
    """The scale-balanced loss where the verdict of the match report finds something to balance.

    Where ties turn the imbalance round, `LOW_QUALITY reassign` is measured too.

    Args:
        situation: of the config.
        then: matches at the advised input and anchors, which may be less even than today's; None
            where these stay.
    """
    if situation.matched is None:
        return None
    enabled = situation.settings.find("scb_enabled")
    if enabled is None or enabled.value:
        return None
    verdict = _verdict(situation, situation.matched)
    if verdict.level in _WORTH_IT:
        return _finding(situation, verdict.text, verdict, situation.matched, None)
    if verdict.level == "reversed" and _low_quality(situation.matched) == "stock":
        changes = situation.settings.enable_scb("to measure it", "reassign")
        again = situation.match_again(changes, "reassigned ties") if changes else None
        reassigned = None if again is None else _verdict(situation, again)
        if reassigned is not None and reassigned.level in _WORTH_IT:
            return _finding(situation, verdict.text, reassigned, again, "reassign")
    later = None if then is None else _verdict(situation, then)
    if later is None or later.level not in _WORTH_IT:
        return None
    finding = _finding(
        situation, f"At the advised input or anchors: {later.text}", later, then, None
    )
    return finding and replace(finding, changes=(), together=finding.changes)


def _finding(
    situation: Situation, text: str, then: Verdict, matched: Matched, low_quality: str | None
) -> Finding | None:
    reason = (
        f"{then.larger} objects match {then.ratio:.2g} times the anchors of {then.smaller} ones"
    )
    changes = situation.settings.enable_scb(reason, low_quality)
    if not changes:
        return None
    shares = weight_shares(matched.counts.by_size)
    lacking = (
        shares["objects"][then.smaller] / sum(shares["objects"].values())
        - shares["stock"]["share"][then.smaller]
    )
    title = "Balance the loss between sizes"
    measured = text
    if low_quality is not None:
        title = "Take one anchor where many tie, and balance the loss"
        measured += (
            f" With MODEL.SCB.LOW_QUALITY reassign {then.larger} objects match {then.ratio:.2g} "
            f"times the anchors of {then.smaller} ones."
        )
    return Finding(
        code="scb",
        title=title,
        measured=measured,
        why="A loss that sums over anchors gives an object a say in proportion to its matches.",
        expected=(
            f"The say of a {then.larger} object comes to {then.weighted_ratio:.2g} times that of a "
            f"{then.smaller} one, from {then.ratio:.2g}. "
            f"{evidence_sentence(situation.settings.kind)}"
        ),
        cost="None at run time; the loss of the positives is larger, so watch the learning rate.",
        concerns=max(lacking, 0.0),
        changes=changes,
    )


def _verdict(situation: Situation, matched: Matched) -> Verdict:
    counts = matched.counts
    shares = weight_shares(counts.by_size, situation.setup.alpha, situation.setup.beta)
    form = situation.setup.form
    return give_verdict(
        shares,
        form if form in shares else "information",
        counts.recall()["all"],
        counts.threshold,
        _low_quality(matched),
    )


def _low_quality(matched: Matched) -> str:
    matcher = matched.geometry.matcher
    if not matcher.allow_low_quality_matches:
        return "off"
    return getattr(matcher, "low_quality", "stock")
