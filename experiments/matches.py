"""What the match report says of a plan's training set: ``python -m experiments.matches [PLAN...]``.

Writes results/matches.json, before any training: all plans, or those named. Run it from the
repository's root.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scb_d2.experiment.plan import load_plan
from scb_d2.matches.run import match_report

__all__ = ["main", "summary_of"]

_HERE = Path(__file__).resolve().parent
_RESULTS = _HERE / "results" / "matches.json"


@functools.cache
def summary_of(config: Path) -> dict[str, Any]:
    """The imbalance of a config's training set under its own anchors, and SCB's effect on it.

    Plans that share a config share the report: what they override leaves data and anchors alone.

    Returns:
        The verdict's `level`, `ratio` (matches of an object of the largest sizes over those of the
        smallest) and `weighted_ratio`; the share of the positive weight that small objects carry,
        in percent, in the stock loss and under SCB; the mean weight of SCB's positives; objects by
        size, and the percentage that reach the matching threshold.
    """
    data = match_report(str(config), ["MODEL.SCB.ENABLED", "True"]).to_json()
    stock, scb = (data["weight_shares"][form] for form in ("stock", "information"))
    return {
        "command": f"scb-d2 matches --config-file experiments/configs/{config.name} "
        "--output DIR MODEL.SCB.ENABLED True",
        **{key: data["verdict"][key] for key in ("level", "ratio", "weighted_ratio")},
        "sizes": data["about"]["sizes"]["rule"],
        "objects": data["weight_shares"]["objects"],
        "small_share_stock": 100 * stock["share"]["small"],
        "small_share_scb": 100 * scb["share"]["small"],
        "mean_weight_scb": scb["total"] / stock["total"],
        "matched_at_threshold": 100 * data["best_possible_recall"]["all"],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write results/matches.json for plans whose data is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="*", type=Path, metavar="PLAN.yaml")
    named = parser.parse_args(argv).plans
    known = json.loads(_RESULTS.read_text("utf-8")) if named else {}
    for path in named or sorted(_HERE.glob("*.yaml")):
        known[path.stem] = summary_of(next(iter(load_plan(path).arms.values()))[0].config)
    text = json.dumps(dict(sorted(known.items())), indent=2) + "\n"
    _RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
