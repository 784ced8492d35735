"""What the match report says of each plan's training set: ``python -m experiments.matches``.

Writes results/matches.json, before any training. Run it from the repository's root.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from scb_d2.experiment.plan import load_plan
from scb_d2.matches.run import match_report

__all__ = ["main", "summary_of"]

_HERE = Path(__file__).resolve().parent


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


def main() -> None:
    """Write results/matches.json for all plans whose data is there."""
    plans = {path.stem: load_plan(path) for path in sorted(_HERE.glob("*.yaml"))}
    configs = {name: next(iter(plan.arms.values()))[0].config for name, plan in plans.items()}
    found = {name: summary_of(config) for name, config in configs.items()}
    text = json.dumps(found, indent=2) + "\n"
    (_HERE / "results" / "matches.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
