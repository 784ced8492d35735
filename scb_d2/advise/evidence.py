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
    found = [entry for entry in _evidence() if entry["kind"] == kind]
    if not found:
        return "No experiment of this project has tried the loss on such a detector."
    parts = [
        f"{entry['detector']} on {entry['data']}, {entry['iterations']:,} iterations, "
        f"{entry['seeds']} seeds: {entry['metric']} {entry['difference']:+.1f} "
        f"[{entry['interval'][0]:+.1f}, {entry['interval'][1]:+.1f}]"
        for entry in found
    ]
    told = "the loss against the stock one, 95 % intervals, docs/results.md"
    return f"Measured by this project ({told}): {'; '.join(parts)}."


@cache
def _evidence() -> list[dict[str, Any]]:
    return json.loads(EVIDENCE_FILE.read_text(encoding="utf-8"))
