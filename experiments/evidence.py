"""Write scb_d2/advise/evidence.json from results/*.json: ``python -m experiments.evidence``.

For every plan, what the loss as published gained over the stock loss in the plan's primary metric.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scb_d2.advise.evidence import EVIDENCE_FILE

from .tables import compared, load_results

__all__ = ["collect", "main"]

_KINDS = {
    "RetinaNet": "retinanet",
    "GeneralizedRCNN": "rcnn",
    "SSD": "ssd",
    "FSSD": "ssd",
    "DSSD": "ssd",
    "RefineDet": "ssd",
}
_PRETRAINED = "laptop_"  # how the names of configs begin whose weights come from ImageNet
_AS_PUBLISHED = ("scb", "first", "arm")  # the arms with the loss's defaults


def collect(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the file.

    Args:
        results: of :func:`experiments.tables.load_results`.
    """
    entries = []
    for plan, found in compared(results).items():
        stock = next(iter(found["arms"]))
        for comparison in found["comparisons"]:
            if comparison["baseline"] != stock or comparison["candidate"] not in _AS_PUBLISHED:
                continue
            numbers = comparison["metrics"][found["primary"]]
            entries.append(
                {
                    "plan": plan,
                    "kind": _KINDS.get(found["meta_architecture"], "other"),
                    "detector": found["meta_architecture"],
                    "data": found["train"][0].rpartition("_")[0],
                    "pretrained": Path(found["config"]).name.startswith(_PRETRAINED),
                    "iterations": found["iterations"],
                    "seeds": len(found["seeds"]),
                    "metric": found["primary"],
                    "difference": numbers["difference"],
                    "interval": numbers["interval"],
                }
            )
    return entries


def main() -> None:
    """Write the file."""
    text = json.dumps(collect(load_results()), indent=1) + "\n"
    EVIDENCE_FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
