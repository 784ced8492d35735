"""Train k seeds of several arms one after another, go on where it stopped, then compare.

A plan is a YAML file::

    config: configs/quickstart.yaml   # beside the plan or in the current folder
    output: output/experiment
    seeds: [1, 2, 3]
    overrides: {SOLVER.MAX_ITER: 900} # of every arm
    arms:                             # the first is the baseline
      stock: {MODEL.SCB.ENABLED: False}
      uniform: {MODEL.SCB.FORM: uniform}
      scb: {}
    comparisons: [[uniform, scb]]     # beside every arm with the first
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scb_d2.errors import ConfigError, UserError
from scb_d2.utils.files import atomic_write
from scb_d2.utils.plain_json import to_json

__all__ = ["Experiment", "TrainingRun", "load_plan", "train_all", "train_in_subprocess"]

_KEYS = {"config", "output", "seeds", "overrides", "arms", "comparisons", "num_gpus"}
_RESERVED = {"SEED": "seeds", "OUTPUT_DIR": "output"}
MARKER = "experiment_run.json"
_TRAIN = "import sys; from scb_d2.engine.main import main; sys.exit(main())"


@dataclass(frozen=True)
class TrainingRun:
    """One run of an experiment.

    Attributes:
        arm: its name.
        seed: `SEED`.
        folder: `OUTPUT_DIR`.
        config: the config file.
        opts: overrides, KEY VALUE in turn, without `SEED` and `OUTPUT_DIR`.
        num_gpus: processes to train with, one per GPU.
    """

    arm: str
    seed: int
    folder: Path
    config: Path
    opts: tuple[str, ...]
    num_gpus: int

    @property
    def command(self) -> list[str]:
        """Arguments of `train_net.py`; `--resume` starts anew where there is no checkpoint."""
        flags = ["--config-file", str(self.config), "--num-gpus", str(self.num_gpus), "--resume"]
        return [*flags, *self.opts, "SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change between an interrupted run and its continuation."""
        return {
            "config": self.config.name,
            "config_text": self.config.read_text(encoding="utf-8"),
            "opts": list(self.opts),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Experiment:
    """A checked plan.

    Attributes:
        plan: its file.
        output: folder of the runs and comparisons.
        arms: the runs of every arm by seed, the first arm first.
        comparisons: (baseline, candidate) arms by name: every arm with the first, then what the
            plan asks for beside these.
    """

    plan: Path
    output: Path
    arms: dict[str, list[TrainingRun]]
    comparisons: tuple[tuple[str, str], ...]

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
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not readable YAML.") from error
    if not isinstance(plan, dict) or not {"config", "output", "seeds", "arms"} <= set(plan):
        raise ConfigError(f"{path}: needs the keys config, output, seeds and arms.")
    unknown = sorted(map(str, set(plan) - _KEYS))
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; allowed are {_list(_KEYS)}.")
    seeds, arms = plan["seeds"], plan["arms"]
    whole = isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds)
    if not whole or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{path}: seeds must be a list of different whole numbers >= 0.")
    if not isinstance(arms, dict) or len(arms) < 2:
        raise ConfigError(f"{path}: arms must hold at least two names, the baseline first.")
    num_gpus = plan.get("num_gpus", 1)
    if type(num_gpus) is not int or num_gpus < 1:
        raise ConfigError(f"{path}: num_gpus must be a whole number >= 1, not {num_gpus!r}.")
    config = _config_file(path, plan["config"])
    common = _overrides(path, "overrides", plan.get("overrides"))
    output = Path(str(plan["output"]))
    runs = {}
    for name, overrides in arms.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(name)):
            raise ConfigError(f"{path}: arm {name!r}: letters, digits, '_', '.', '-' are allowed.")
        own = _overrides(path, f"arms.{name}", overrides)
        # What `scb-d2 compare` needs of a VOC data set; a plan may still switch it off.
        merged = {"TEST.RECALL.ENABLED": True, **common, **own}
        opts = tuple(text for key, value in merged.items() for text in (key, _text(value)))
        runs[str(name)] = [
            TrainingRun(str(name), seed, output / str(name) / f"seed{seed}", config, opts, num_gpus)
            for seed in seeds
        ]
    first, *others = runs
    pairs = [(first, name) for name in others]
    pairs += _comparisons(path, plan.get("comparisons"), list(runs), pairs)
    return Experiment(path, output, runs, tuple(pairs))


def train_in_subprocess(run: TrainingRun) -> None:
    """Train a run in a process of its own, its output in `console.txt`.

    Raises:
        UserError: the process failed.
    """
    log = run.folder / "console.txt"
    with open(log, "a", encoding="utf-8") as file:
        command = [sys.executable, "-c", _TRAIN, *run.command]
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if status.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        raise UserError(f"{run.arm}, seed {run.seed} failed (see {log}){last}")


def train_all(
    experiment: Experiment,
    train: Callable[[TrainingRun], None] = train_in_subprocess,
    say: Callable[[str], None] = print,
) -> None:
    """Train what is not finished, seed by seed, so that whole pairs are there early.

    Args:
        experiment: from :func:`load_plan`.
        train: trains and evaluates one run, going on from a checkpoint in its folder.
        say: told of every run.

    Raises:
        UserError: a run failed, or a folder holds a run of other settings.
    """
    ordered = [run for group in zip(*experiment.arms.values(), strict=True) for run in group]
    # All folders before the first run: a conflict must not show after hours.
    finished = {id(run): _is_finished(run) for run in ordered}
    for number, run in enumerate(ordered, start=1):
        title = f"[{number}/{len(ordered)}] {run.arm}, seed {run.seed}"
        if finished[id(run)]:
            say(f"{title}: finished before")
            continue
        run.folder.mkdir(parents=True, exist_ok=True)
        resumed = (run.folder / MARKER).is_file()
        _mark(run, finished=False)
        say(f"{title}: training, see {run.folder / 'console.txt'}")
        start = time.monotonic()
        train(run)
        minutes = (time.monotonic() - start) / 60
        _mark(run, finished=True, minutes=None if resumed else minutes)
        say(f"{title}: done in {minutes:.1f} min")


def _is_finished(run: TrainingRun) -> bool:
    marker = run.folder / MARKER
    if not marker.is_file():
        if run.folder.is_dir() and any(run.folder.iterdir()):
            raise UserError(
                f"{run.folder}: holds files that are not of this experiment; choose another output."
            )
        return False
    known = json.loads(marker.read_text(encoding="utf-8"))
    if known["run"] != run.identity:
        raise UserError(
            f"{run.folder}: was trained with another config or overrides; choose another output or "
            "delete the folder."
        )
    return known["finished"]


def _mark(run: TrainingRun, finished: bool, minutes: float | None = None) -> None:
    state = {"run": run.identity, "finished": finished, "minutes": minutes}
    with atomic_write(run.folder / MARKER, encoding="utf-8") as file:
        file.write(to_json(state))


def _comparisons(
    plan: Path, value: Any, arms: list[str], known: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    pairs = [] if value is None else value
    if not isinstance(pairs, list):
        raise ConfigError(f"{plan}: comparisons must be a list of [baseline, candidate].")
    checked: list[tuple[str, str]] = []
    for pair in pairs:
        named = isinstance(pair, list) and len(pair) == 2 and all(arm in arms for arm in pair)
        if not named or pair[0] == pair[1] or tuple(pair) in [*known, *checked]:
            raise ConfigError(
                f"{plan}: comparisons: {pair!r} must be two of the arms ({', '.join(arms)}), "
                "[baseline, candidate], a pair not compared anyway."
            )
        checked.append(tuple(pair))
    return checked


def _config_file(plan: Path, value: Any) -> Path:
    if not isinstance(value, str) or not value.endswith((".yaml", ".yml")):
        raise ConfigError(f"{plan}: config must be the path of a YAML config, not {value!r}.")
    for candidate in (plan.parent / value, Path(value)):
        if candidate.is_file():
            return candidate.resolve()
    raise ConfigError(f"{plan}: config {value} is neither beside the plan nor in this folder.")


def _overrides(plan: Path, where: str, value: Any) -> dict[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise ConfigError(f"{plan}: {where} must map config keys to values, not {value!r}.")
    for key, name in _RESERVED.items():
        if key in value:
            raise ConfigError(f"{plan}: {where}: {key} follows from {name!r} of the plan.")
    return {str(key): item for key, item in value.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))
