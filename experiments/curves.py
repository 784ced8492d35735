"""Learning curves of a plan's finished runs: ``python -m experiments.curves PLAN``.

Collects one metric at every evaluation (`TEST.EVAL_PERIOD`) from the runs' metrics.json into
results/<plan>_curves.json, from which ``python -m experiments.tables`` writes a table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scb_d2.experiment.plan import TrainingRun, load_plan
from scb_d2.experiment.training import finished_arms
from scb_d2.utils.files import atomic_write
from scb_d2.utils.plain_json import to_json

__all__ = ["curve_of", "curves_of", "main"]

_RESULTS = Path(__file__).resolve().parent / "results"


def curve_of(metrics_file: Path, metric: str) -> dict[int, float]:
    """A metric by iteration; of an iteration that was run twice, the later line holds.

    Args:
        metrics_file: Detectron2's metrics.json, a JSON object a line.
        metric: its key there.
    """
    rows = map(json.loads, metrics_file.read_text("utf-8").splitlines())
    return {row["iteration"]: row[metric] for row in rows if metric in row}


def curves_of(arms: dict[str, list[TrainingRun]], metric: str) -> dict[str, Any]:
    """The curves of all runs at the iterations that all of them were evaluated at.

    Args:
        arms: finished runs, from :func:`scb_d2.experiment.training.finished_arms`.
        metric: as for :func:`curve_of`.

    Returns:
        `metric`, `iterations`, and `arms`: by arm and seed, a value for each iteration.
    """
    curves = {
        arm: {str(run.seed): curve_of(run.folder / "metrics.json", metric) for run in runs}
        for arm, runs in arms.items()
    }
    everywhere = set.intersection(*(set(c) for runs in curves.values() for c in runs.values()))
    iterations = sorted(everywhere)
    return {
        "metric": metric,
        "iterations": iterations,
        "arms": {
            arm: {seed: [round(c[i], 4) for i in iterations] for seed, c in runs.items()}
            for arm, runs in curves.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", metavar="PLAN.yaml")
    # The recall evaluator's AP of small objects, whose limits are the plan's.
    parser.add_argument("--metric", default="recall/APs")
    args = parser.parse_args(argv)
    found = curves_of(finished_arms(load_plan(args.plan)), args.metric)
    with atomic_write(_RESULTS / f"{Path(args.plan).stem}_curves.json", encoding="utf-8") as file:
        file.write(to_json(found))


if __name__ == "__main__":
    main()
