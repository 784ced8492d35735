"""What the project's own experiments say of the loss, by detector.

``evidence.json`` is written from the committed results by ``python -m experiments.evidence``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["EVIDENCE_FILE", "evidence_sentence"]

EVIDENCE_FILE = Path(__file__).parent / "evidence.json"


def evidence_sentence(kind: str) -> str:
    """The measured differences between the scale-balanced and the stock loss, in one sentence.

    Args:
        kind: of detectors, see :func:`scb_d2.advise.settings.kind_of`.
    """
    entries = [entry for entry in _evidence() if entry["kind"] == kind]
    if not entries:
        return "No experiment of this project has tried the loss on such a detector."
    pretrained = [_told(entry) for entry in entries if entry["pretrained"]]
    from_scratch = [_told(entry) for entry in entries if not entry["pretrained"]]
    told = [
        f"{start}: {'; '.join(parts)}"
        for start, parts in (("pretrained", pretrained), ("from scratch", from_scratch))
        if parts
    ]
    return (
        "Measured by this project (the loss against the stock one, 95 % intervals; what a constant "
        f"weight does as well is in docs/results.md), {', and '.join(told)}."
    )


def _told(entry: dict[str, Any]) -> str:
    lower, upper = entry["interval"]
    return (
        f"{entry['detector']} on {entry['data']} (plan {entry['plan']}), "
        f"{entry['iterations']:,} iterations, {entry['seeds']} seeds: {entry['metric']} "
        f"{entry['difference']:+.1f} [{lower:+.1f}, {upper:+.1f}]"
    )


@cache
def _evidence() -> list[dict[str, Any]]:
    return json.loads(EVIDENCE_FILE.read_text(encoding="utf-8"))
