"""One file that holds an experiment: command, settings, hardware, all metrics of all runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from scb_d2.utils.hardware import hardware

from .plan import MARKER, Experiment, TrainingRun

__all__ = ["summarize"]

_SETTINGS = {
    "meta_architecture": "MODEL.META_ARCHITECTURE",
    "train": "DATASETS.TRAIN",
    "test": "DATASETS.TEST",
    "iterations": "SOLVER.MAX_ITER",
    "images_per_batch": "SOLVER.IMS_PER_BATCH",
    "base_lr": "SOLVER.BASE_LR",
}
_DIGITS = 4
_COMPARED = (
    "difference",
    "t_interval",
    "bootstrap_interval",
    "interval",
    "p_value",
    "adjusted_p",
    "verdict",
)


def summarize(
    experiment: Experiment,
    command: str,
    results: Mapping[tuple[str, str], Mapping[str, Any]],
) -> dict[str, Any]:
    """Collect what a table of results needs.

    Args:
        experiment: whose runs are finished.
        command: what was typed.
        results: by (baseline, candidate): `Comparison.result` of
            :func:`scb_d2.compare.run.compare_arms`.

    Returns:
        JSON values. `arms` hold their overrides, the metrics of each run by seed and its minutes
        (null for a run that was interrupted and resumed); `comparisons` the differences, intervals,
        p-values and verdicts. Numbers are rounded to four digits.
    """
    runs_of_first = next(iter(experiment.arms.values()))
    first = runs_of_first[0]
    config = yaml.safe_load((first.folder / "config.yaml").read_text(encoding="utf-8"))
    any_result = next(iter(results.values()))
    return {
        "command": command,
        "plan": experiment.plan.name,
        "config": first.config.name,
        **{name: _at(config, key) for name, key in _SETTINGS.items()},
        "num_gpus": first.num_gpus,
        "seeds": [run.seed for run in runs_of_first],
        "hardware": hardware(),
        "test_images": any_result["num_images"],
        "test_objects": any_result["objects"],
        "primary": any_result["primary"],
        "rules": any_result["rules"],
        "arms": {
            name: {
                "overrides": dict(zip(runs[0].opts[::2], runs[0].opts[1::2], strict=True)),
                "minutes": [_minutes(run) for run in runs],
                "metrics": _metrics_of(name, results),
            }
            for name, runs in experiment.arms.items()
        },
        "comparisons": [
            {
                "baseline": baseline,
                "candidate": candidate,
                "metrics": {
                    name: {key: _rounded(row[key]) for key in _COMPARED}
                    for name, row in result["metrics"].items()
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
        if "fp=baseline" not in name  # depends on the partner
    }


def _minutes(run: TrainingRun) -> float | None:
    state = json.loads((run.folder / MARKER).read_text(encoding="utf-8"))
    return _rounded(state.get("minutes"))


def _at(config: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
