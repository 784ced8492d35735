"""One file that holds an experiment: command, commit, settings, hardware, all metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scb_d2.compare.run import Comparison
from scb_d2.engine.config.safe_yaml import load_outline
from scb_d2.utils.hardware import hardware
from scb_d2.utils.revision import revision

from .plan import Experiment, TrainingRun
from .training import run_state

__all__ = ["summarize"]

_DIGITS = 4
_COMPARED = (
    "family",
    "size",
    "operating_point",
    "difference",
    "t_interval",
    "bootstrap_interval",
    "interval",
    "detectable",
    "p_value",
    "adjusted_p",
    "verdict",
)


def summarize(
    experiment: Experiment,
    arms: Mapping[str, list[TrainingRun]],
    command: str,
    comparisons: Mapping[tuple[str, str], Comparison],
) -> dict[str, Any]:
    """Collect what a table of results needs.

    Args:
        experiment: the plan.
        arms: its finished runs, from :func:`scb_d2.experiment.training.finished_arms`.
        command: what was typed.
        comparisons: by (baseline, candidate), judged together.

    Returns:
        JSON values. `commit` is that of the runs, `judged_by` that of the judge. `arms` hold their
        overrides, the metrics of each run by seed and its minutes (null for a run that was
        interrupted and resumed); `comparisons` the differences, intervals,
        p-values and verdicts of the judged metrics. Numbers are rounded to four digits.
    """
    results = {pair: comparison.result for pair, comparison in comparisons.items()}
    runs_of_first = next(iter(arms.values()))
    first = runs_of_first[0]
    config = load_outline((first.folder / "config.yaml").read_text(encoding="utf-8"))
    any_result = next(iter(results.values()))
    planned = len(next(iter(experiment.arms.values())))
    return {
        "command": command,
        "commit": run_state(first)["run"]["commit"],
        "judged_by": revision(),
        "plan": experiment.plan.name,
        "config": first.config.name,
        **first.kind.facts_of(config),
        "num_gpus": first.num_gpus,
        "seeds": [run.seed for run in runs_of_first],
        "seeds_planned": planned,
        "hardware": hardware(),
        "test_images": any_result["num_images"],
        "test_objects": any_result["objects"],
        "primary": any_result["primary"],
        "confirmatory": list(experiment.confirmatory),
        "rules": any_result["rules"],
        "arms": {
            name: {
                "overrides": dict(runs[0].overrides),
                "minutes": [_rounded(run_state(run).get("minutes")) for run in runs],
                "metrics": _metrics_of(name, results),
            }
            for name, runs in arms.items()
        },
        "comparisons": [
            {
                "baseline": baseline,
                "candidate": candidate,
                "metrics": {
                    name: {key: _rounded(row[key]) for key in _COMPARED}
                    for name, row in result["metrics"].items()
                    if row["judged"]
                },
            }
            for (baseline, candidate), result in results.items()
        ],
    }


def _metrics_of(
    arm: str, results: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    side, result = next(
        ("baseline" if arm == pair[0] else "candidate", result)
        for pair, result in results.items()
        if arm in pair
    )
    seeds = [pair["seed"] for pair in result["pairs"]]
    return {
        name: {str(seed): _rounded(value) for seed, value in zip(seeds, row[side], strict=True)}
        for name, row in result["metrics"].items()
        # What is taken at the baseline's false positives depends on the partner.
        if not str(row["operating_point"]).startswith("baseline@")
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
