"""Does the scale-balanced loss have something to balance here? The rule and its words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from scb_d2.utils.size_groups import SIZE_NAMES

__all__ = ["REFERENCE_RATIO", "REFERENCE_REACHING", "RULE", "Verdict", "give_verdict"]

REFERENCE_RATIO = 3.2
"""Mean M of large over small objects for SSD300 on VOC 2007+2012 trainval, the paper's own case:
measured with this command on all boxes but the difficult, warped to 300 x 300 (docs/matches.md)."""

REFERENCE_REACHING = 0.929
"""Share of its objects that reach IoU 0.5 with an anchor, measured likewise."""

_CLEAR, _SOME = 2.0, 1.25
_LEAST_REACHING = 0.85
_LEAST_OBJECTS, _LEAST_SHARE = 20, 0.01

RULE = (
    "Ratio = mean matches per object of the largest size group over that of the smallest (groups "
    f"with at least {_LEAST_OBJECTS} objects and {_LEAST_SHARE:.0%} of all). "
    f"At least {_CLEAR:g}: clear imbalance; at least {_SOME:g}: some; below {1 / _SOME:g}: "
    "reversed (small objects match more); else none. Reference: SSD300 on VOC, where the paper "
    f"gains 1.0 AP and most on small objects, has a ratio of {REFERENCE_RATIO:g}; {_CLEAR:g} is "
    "more than half of that on a logarithmic scale, on which the weight works. Below "
    f"{_LEAST_REACHING:.0%} best possible recall at IoU 0.5 or less (SSD300 on VOC: "
    f"{REFERENCE_REACHING:.1%}) anchors are the first thing to mend."
)


@dataclass(frozen=True)
class Verdict:
    """What a match report concludes.

    Attributes:
        level: ``"clear"``, ``"some"``, ``"none"``, ``"reversed"`` or ``"one size"``.
        ratio: mean M of ``larger`` over ``smaller``; None for ``"one size"``.
        weighted_ratio: the same of W x M under the config's form; None where ``smaller`` weighs 0.
        smaller: name of the smallest size group with enough objects.
        larger: name of the largest.
        text: sentences.
        rule: how the level was decided.
    """

    level: str
    ratio: float | None
    weighted_ratio: float | None
    smaller: str | None
    larger: str | None
    text: str
    rule: str = RULE

    def to_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self) | {"reference_ratio": REFERENCE_RATIO}


def give_verdict(
    shares: dict[str, Any],
    form: str,
    reaching: float,
    threshold: float | None = 0.5,
    low_quality: str = "off",
) -> Verdict:
    """Apply the rule.

    Args:
        shares: of :func:`scb_d2.matches.weight_shares.weight_shares`.
        form: the config's form.
        reaching: best possible recall, in [0, 1].
        threshold: IoU of that recall; None: of any match.
        low_quality: rule of the matcher: ``"stock"``, ``"reassign"`` or ``"off"``.
    """
    recall_note = _recall_note(reaching, threshold)
    objects, stock, weighted = shares["objects"], shares["stock"], shares[form]
    total = sum(objects.values())
    enough = [
        name
        for name in SIZE_NAMES
        if objects[name] >= max(_LEAST_OBJECTS, _LEAST_SHARE * total) and stock["mean"][name] > 0
    ]
    if len(enough) < 2:
        only = f"Nearly all objects are {enough[0]}" if enough else "There are too few objects"
        text = (
            f"{only}, so sizes cannot be out of balance with each other; the weight can still even "
            "out objects of one size that match differently."
        )
        return Verdict("one size", None, None, None, None, text + recall_note)
    small, large = enough[0], enough[-1]
    ratio = stock["mean"][large] / stock["mean"][small]
    say = weighted["mean"][small]
    weighted_ratio = weighted["mean"][large] / say if say > 0 else None
    brought = f"brings the ratio to {weighted_ratio:.2g}" if say > 0 else "gives them no say at all"
    level = "clear" if ratio >= _CLEAR else "some" if ratio >= _SOME else "none"
    level = "reversed" if ratio < 1 / _SOME else level
    opening = {
        "clear": "Yes: there is a clear imbalance for the scale-balanced loss to balance; whether "
        "AP gains by it only training tells, over seeds (scb-d2 experiment).",
        "some": "Partly: there is some imbalance, less than where the paper measured its gains.",
        "none": "Hardly: objects of different sizes match nearly equally often.",
        "reversed": f"No: here {small} objects match more anchors than {large} ones, and the "
        "weight would take from them.",
    }[level]
    share = objects[small] / total
    text = (
        f"{opening} A {large} object matches {ratio:.2g} times the anchors of a {small} one "
        f"({stock['mean'][large]:.1f} against {stock['mean'][small]:.1f}; SSD300 on VOC: "
        f"{REFERENCE_RATIO:g} times). The {small} objects are {share:.1%} of all and carry "
        f"{stock['share'][small]:.1%} of the positive weight in a stock loss, "
        f"{weighted['share'][small]:.1%} under the form '{form}', which {brought}."
    )
    if level == "reversed" and low_quality == "stock":
        text += (
            " Detectron2's stock rule can cause this: every anchor tied for an object's best IoU "
            "becomes positive, and all anchors that contain a small object tie; compare with "
            "MODEL.SCB.LOW_QUALITY 'reassign', which takes one."
        )
    return Verdict(level, ratio, weighted_ratio, small, large, text + recall_note)


def _recall_note(reaching: float, threshold: float | None) -> str:
    if reaching >= _LEAST_REACHING:
        return ""
    if threshold is None:
        return (
            f" But only {reaching:.1%} of the objects have a match at all: a larger input comes "
            "before any weighting of the loss."
        )
    if threshold > 0.5:
        return (
            f" At the matching threshold, IoU {threshold:g}, {reaching:.1%} of the objects have an "
            "anchor; the others depend on the rule for low-quality matches."
        )
    return (
        f" But only {reaching:.1%} of the objects reach the matching threshold with any anchor "
        f"(SSD300 on VOC: {REFERENCE_REACHING:.1%}): better anchors or a larger input come before "
        "any weighting of the loss."
    )
