"""The plan of an experiment: which arms and seeds are trained, and how they are judged.

A plan is a YAML file::

    config: configs/shapes_retinanet_scb.yaml   # beside the plan or in the current folder
    output: output/experiment
    seeds: [1, 2, 3]
    overrides: {SOLVER.MAX_ITER: 900} # of every arm
    arms:                             # the first is the baseline
      stock: {MODEL.SCB.ENABLED: False}
      uniform: {MODEL.SCB.FORM: uniform}
      scb: {}
    comparisons: [[uniform, scb]]     # beside every arm with the first
    compare:                          # the rule of judgement
      primary: APs
      confirmatory: [stock, scb]      # its primary metric needs no adjustment

The config may be a LazyConfig; its keys are `optimizer.lr`, `train.max_iter` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scb_d2.compare.settings import CompareChoices
from scb_d2.engine.config.safe_yaml import load_yaml
from scb_d2.errors import ConfigError

from .config_kinds import ConfigKind, kind_of

__all__ = ["Experiment", "Plan", "TrainingRun", "load_plan"]


@dataclass
class Plan:
    """The keys of a plan's file.

    Attributes:
        config: of either kind, beside the plan or in the current folder.
        output: folder of the runs.
        seeds: different whole numbers >= 0.
        arms: overrides by name, the baseline first.
        overrides: of every arm.
        comparisons: [baseline, candidate] beside every arm with the first.
        compare: how is judged.
        num_gpus: processes of one run.
    """

    config: str = MISSING
    output: str = MISSING
    seeds: list[int] = MISSING
    arms: dict[str, Any] = MISSING
    overrides: dict[str, Any] = field(default_factory=dict)
    comparisons: list[list[str]] = field(default_factory=list)
    compare: CompareChoices = field(default_factory=CompareChoices)
    num_gpus: int = 1


@dataclass(frozen=True)
class TrainingRun:
    """One run of an experiment.

    Attributes:
        arm: its name.
        seed: of everything random in it.
        folder: where it is written.
        config: the config file.
        overrides: key to value as text, without seed and folder.
        num_gpus: processes to train with, one per GPU.
    """

    arm: str
    seed: int
    folder: Path
    config: Path
    overrides: Mapping[str, str]
    num_gpus: int

    @property
    def kind(self) -> ConfigKind:
        """The kind of its config."""
        return kind_of(self.config)

    @property
    def settings(self) -> list[str]:
        """Overrides and seed, as a command line takes them."""
        return self.kind.arguments({**self.overrides, self.kind.seed: str(self.seed)})

    @property
    def command(self) -> list[str]:
        """Arguments of `train_net.py`; `--resume` starts anew where there is no checkpoint."""
        flags = ["--config-file", str(self.config), "--num-gpus", str(self.num_gpus), "--resume"]
        folder = {self.kind.output_dir: self.kind.text(str(self.folder))}
        return [*flags, *self.settings, *self.kind.arguments(folder)]


@dataclass(frozen=True)
class Experiment:
    """A checked plan.

    Attributes:
        plan: its file.
        output: folder of the runs and comparisons.
        arms: the runs of every arm by seed, the first arm first.
        comparisons: (baseline, candidate) arms by name: every arm with the first, then what the
            plan asks for beside these.
        compare: how is judged.
        confirmatory: the comparison whose primary metric needs no adjustment.
    """

    plan: Path
    output: Path
    arms: dict[str, list[TrainingRun]]
    comparisons: tuple[tuple[str, str], ...]
    compare: CompareChoices
    confirmatory: tuple[str, str]

    def comparison_folder(self, baseline: str, candidate: str) -> Path:
        """Where the comparison of two arms is written."""
        first = next(iter(self.arms))
        name = candidate if baseline == first else f"{candidate}_against_{baseline}"
        return self.output / "compare" / name


def load_plan(path: str | Path) -> Experiment:
    """Read and check a plan.

    Raises:
        ConfigError: a key is missing, unknown or malformed; the sentence names it.
    """
    path = Path(path)
    plan = _read(path)
    if not plan.seeds or min(plan.seeds) < 0 or len(set(plan.seeds)) < len(plan.seeds):
        raise ConfigError(f"{path}: seeds must be a list of different whole numbers >= 0.")
    if len(plan.arms) < 2:
        raise ConfigError(f"{path}: arms must hold at least two names, the baseline first.")
    if plan.num_gpus < 1:
        raise ConfigError(f"{path}: num_gpus must be a whole number >= 1, not {plan.num_gpus}.")
    config = _config_file(path, plan.config)
    kind = kind_of(config)
    common = _overrides(path, "overrides", plan.overrides, kind)
    output = Path(plan.output)
    runs = {}
    for name, overrides in plan.arms.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ConfigError(f"{path}: arm {name!r}: letters, digits, '_', '.', '-' are allowed.")
        own = _overrides(path, f"arms.{name}", overrides, kind)
        merged = {**kind.measured, **common, **own}
        texts = {key: kind.text(value) for key, value in merged.items()}
        runs[name] = [
            TrainingRun(name, seed, output / name / f"seed{seed}", config, texts, plan.num_gpus)
            for seed in plan.seeds
        ]
    first, *others = runs
    pairs = [(first, name) for name in others]
    pairs += _comparisons(path, plan.comparisons, list(runs), pairs)
    confirmatory = pairs[0]
    if plan.compare.confirmatory is not None:
        confirmatory = tuple(plan.compare.confirmatory)
        if confirmatory not in pairs:
            raise ConfigError(
                f"{path}: compare.confirmatory: {plan.compare.confirmatory} must be one of the "
                "plan's comparisons, [baseline, candidate]."
            )
    try:
        plan.compare.check()
    except ConfigError as error:
        raise ConfigError(f"{path}: compare: {error}") from None
    return Experiment(path, output, runs, tuple(pairs), plan.compare, confirmatory)


def _read(path: Path) -> Plan:
    try:
        loaded = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not readable YAML: {reason}.") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: needs the keys config, output, seeds and arms.")
    _refuse_unknown(path, "", loaded, Plan)
    compare = loaded.get("compare") or {}
    for key, kind in (("seeds", list), ("comparisons", list), ("arms", dict), ("compare", dict)):
        if not isinstance(loaded.get(key) or kind(), kind):
            form = "a list" if kind is list else "a mapping"
            raise ConfigError(f"{path}: {key} must be {form}, not {loaded[key]!r}.")
    _refuse_unknown(path, "compare: ", compare, CompareChoices)
    # A section without entries is as good as none.
    loaded = {key: value for key, value in loaded.items() if value is not None}
    try:
        plan = OmegaConf.merge(OmegaConf.structured(Plan), loaded)
        missing = sorted(OmegaConf.missing_keys(plan))
        if missing:
            raise ConfigError(f"{path}: needs the keys config, output, seeds and arms.")
        return OmegaConf.to_object(plan)
    except OmegaConfBaseException as error:
        # The first line says what is wrong; the others repeat the key.
        said = str(error).splitlines()[0].rstrip(".")
        where = error.full_key or "the plan"
        raise ConfigError(f"{path}: {where}: {said}.") from None


def _refuse_unknown(path: Path, where: str, loaded: dict[str, Any], schema: type) -> None:
    keys = [field.name for field in fields(schema)]
    unknown = sorted(str(key) for key in set(loaded) - set(keys))
    if unknown:
        allowed = ", ".join(sorted(keys))
        raise ConfigError(f"{path}: {where}unknown key {unknown[0]!r}; allowed are {allowed}.")


def _comparisons(
    plan: Path, value: list[list[str]], arms: list[str], known: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    checked: list[tuple[str, str]] = []
    for pair in value:
        named = len(pair) == 2 and all(arm in arms for arm in pair)
        if not named or pair[0] == pair[1] or tuple(pair) in [*known, *checked]:
            raise ConfigError(
                f"{plan}: comparisons: {pair!r} must be two of the arms ({', '.join(arms)}), "
                "[baseline, candidate], a pair not compared anyway."
            )
        checked.append((pair[0], pair[1]))
    return checked


def _config_file(plan: Path, value: str) -> Path:
    if not value.endswith((".yaml", ".yml", ".py")):
        raise ConfigError(
            f"{plan}: config must be the path of a YAML config or of a LazyConfig (.py), not "
            f"{value!r}."
        )
    for candidate in (plan.parent / value, Path(value)):
        if candidate.is_file():
            return candidate.resolve()
    raise ConfigError(f"{plan}: config {value} is neither beside the plan nor in this folder.")


def _overrides(plan: Path, where: str, value: Any, kind: ConfigKind) -> dict[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise ConfigError(f"{plan}: {where} must map config keys to values, not {value!r}.")
    for key, name in ((kind.seed, "seeds"), (kind.output_dir, "output")):
        if key in value:
            raise ConfigError(f"{plan}: {where}: {key} follows from {name!r} of the plan.")
    return {str(key): item for key, item in value.items()}
