"""The advice as a plan for ``scb-d2 experiment``: as is, each alone, all, all with the loss."""

from __future__ import annotations

import os
from typing import Any

import yaml

from .advised_config import given_changes
from .run import Advice, merged

__all__ = ["plan_of"]

_AS_IS, _ALL, _ALL_SCB = "as_is", "advised", "advised_scb"


def plan_of(advice: Advice, folder: str, output: str) -> str | None:
    """Text of the plan; None where there is nothing to compare.

    Changes of how detections are counted go to every arm: arms must be measured alike.

    Args:
        advice: of a config.
        folder: where the plan will be.
        output: folder for the runs.
    """
    settings = advice.situation.settings
    loss_keys = {change.key for change in settings.enable_scb("", low_quality="reassign")}
    arms: dict[str, dict[str, Any]] = {_AS_IS: {}}
    for finding in advice.findings:
        arms[finding.code] = _values([c for c in finding.changes if not c.evaluation])
    together = [c for f in advice.findings for c in f.changes_together if not c.evaluation]
    plain = [change for change in together if change.key not in loss_keys]
    arms[_ALL] = _values(plain)
    if not settings.find("scb_enabled").value:
        loss = [c for c in together if c.key in loss_keys]
        loss = loss or list(settings.enable_scb("the scale-balanced loss"))
        arms[_ALL_SCB] = _values([*plain, *loss])
    plain_values, arms = arms[_ALL], _different(arms)
    if len(arms) < 2:
        return None
    # One advice alone is all advice; no advice but the loss leaves the config as it is.
    all_plain = next(name for name, values in arms.items() if values == plain_values)
    evaluation = [c for f in advice.findings for c in f.changes_together if c.evaluation]
    beside = _ALL_SCB in arms and all_plain != _AS_IS
    comparisons = [[all_plain, _ALL_SCB]] if beside else []
    confirmed = all_plain if all_plain != _AS_IS else list(arms)[-1]
    plan = {
        "config": os.path.relpath(settings.path, folder),
        "output": output,
        "seeds": [1, 2, 3],
        "overrides": _values(given_changes(advice)) | _values(evaluation),
        "arms": arms,
        "comparisons": comparisons,
        "compare": {"confirmatory": [_AS_IS, confirmed]},
    }
    return (
        "# Written by scb-d2 advise: does the advice help on this data? Every arm is trained with\n"
        "# every seed; scb-d2 experiment goes on where it was stopped.\n"
        + yaml.safe_dump(plan, sort_keys=False, width=100, default_flow_style=None)
    )


def _values(changes: Any) -> dict[str, Any]:
    """Key to value; a tuple as a list, which YAML has a word for."""
    return {c.key: _listed(c.value) for c in merged(list(changes))}


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple | list) else value


def _different(arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without arms that would train the same as one before them."""
    kept: dict[str, dict[str, Any]] = {}
    for name, overrides in arms.items():
        if overrides not in kept.values():
            kept[name] = overrides
    return kept
