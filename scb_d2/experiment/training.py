"""Train the runs of a plan, go on where it stopped, and never mix runs that differ."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from scb_d2.compare.settings import agreed_recall
from scb_d2.config import get_cfg
from scb_d2.errors import ConfigError, UserError
from scb_d2.utils.files import atomic_write
from scb_d2.utils.nested import flat
from scb_d2.utils.plain_json import to_json
from scb_d2.utils.revision import revision

from .plan import Experiment, TrainingRun

__all__ = ["finished_arms", "identity", "run_state", "train_all", "train_in_subprocess"]

MARKER = "experiment_run.json"
_TRAIN = "import sys; from scb_d2.engine.main import main; sys.exit(main())"


def identity(run: TrainingRun) -> dict[str, Any]:
    """What must not change between an interrupted run and its continuation.

    Returns:
        The merged config but for the folder (`_BASE_` files and overrides included, flat by key,
        where it differs from the defaults), the number of GPUs and the commit of the code.

    Raises:
        UserError: the config or an override is wrong.
    """
    different = run.kind.merged(str(run.config), run.settings)
    different.pop(run.kind.output_dir, None)
    return {"config": different, "num_gpus": run.num_gpus, "commit": revision()}


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
    part: tuple[int, int] = (1, 1),
) -> None:
    """Train what is not finished, seed by seed, so that whole pairs are there early.

    A run that fails does not keep the others from being trained.

    Args:
        experiment: from :func:`scb_d2.experiment.plan.load_plan`.
        train: trains and evaluates one run, going on from a checkpoint in its folder.
        say: told of every run.
        part: (i, n): every n-th run from the i-th on, for n processes that share a plan.

    Raises:
        ConfigError: runs have several test sets, of which the plan names none, or it names another;
            or they measure differently, or not the primary metric.
        UserError: runs failed, said after the last one; or a folder holds a run of other settings.
    """
    ordered = [run for group in zip(*experiment.arms.values(), strict=True) for run in group]
    # All folders before the first run: a conflict must not show after hours.
    identities = {id(run): identity(run) for run in ordered}
    for run in ordered:
        _check_dataset(experiment, run, identities[id(run)]["config"])
    _check_measured(experiment, [(run, identities[id(run)]["config"]) for run in ordered])
    finished = {id(run): _is_finished(run, identities[id(run)]) for run in ordered}
    first, step = part
    mine = list(enumerate(ordered, start=1))[first - 1 :: step]
    failures: list[UserError] = []
    for number, run in mine:
        title = f"[{number}/{len(ordered)}] {run.arm}, seed {run.seed}"
        if finished[id(run)]:
            say(f"{title}: finished before")
            continue
        run.folder.mkdir(parents=True, exist_ok=True)
        resumed = (run.folder / MARKER).is_file()
        _mark(run, identities[id(run)], finished=False)
        say(f"{title}: training, see {run.folder / 'console.txt'}")
        start = time.monotonic()
        try:
            train(run)
        except UserError as error:
            failures.append(error)
            say(f"{title}: failed")
            continue
        minutes = (time.monotonic() - start) / 60
        _mark(run, identities[id(run)], finished=True, minutes=None if resumed else minutes)
        say(f"{title}: done in {minutes:.1f} min")
    if failures:
        raise UserError(
            f"{len(failures)} of {len(mine)} runs failed, and nothing was compared; started again, "
            "the plan trains these alone, and --compare-only judges the seeds that all arms have "
            f"finished. The first: {failures[0]}"
        )


def _check_dataset(experiment: Experiment, run: TrainingRun, config: dict[str, Any]) -> None:
    """Refuse none of several test sets, and one that is none of them, before the training."""
    key = run.kind.facts["test"]
    names = config.get(key) or ()
    names = [names] if isinstance(names, str) else names
    chosen = experiment.compare.dataset
    if names and (len(names) > 1 or chosen is not None) and chosen not in names:
        raise ConfigError(
            f"{experiment.plan}: {run.arm} is tested on {', '.join(names)} ({key}), and arms are "
            f"compared on one of these; name it as compare.dataset of the plan or by --dataset; "
            f"got {chosen!r}."
        )


def _check_measured(experiment: Experiment, runs: list[tuple[TrainingRun, dict[str, Any]]]) -> None:
    """Refuse sizes that runs do not share or that do not have the primary metric."""
    section = "TEST.RECALL."
    defaults = flat(get_cfg().TEST.RECALL)
    said = [
        (
            f"{run.arm}, seed {run.seed}",
            {key: config.get(section + key, default) for key, default in defaults.items()},
        )
        for run, config in runs
    ]
    try:
        experiment.compare.settings(agreed_recall(said, experiment.compare))
    except ConfigError as error:
        raise ConfigError(f"{experiment.plan}: compare: {error}") from None


def finished_arms(experiment: Experiment) -> dict[str, list[TrainingRun]]:
    """The runs of the seeds that every arm has finished, by arm.

    Raises:
        UserError: there is no such seed, or the runs are of several commits or of another plan.
    """
    states = {id(run): run_state(run) for runs in experiment.arms.values() for run in runs}
    whole = [
        all((states[id(run)] or {}).get("finished") for run in group)
        for group in zip(*experiment.arms.values(), strict=True)
    ]
    if not any(whole):
        raise UserError(f"{experiment.output}: no seed is finished in all arms yet.")
    arms = {
        name: [run for run, done in zip(runs, whole, strict=True) if done]
        for name, runs in experiment.arms.items()
    }
    commits: dict[str, TrainingRun] = {}
    for runs in arms.values():
        for run in runs:
            state = states[id(run)]
            now = identity(run)
            commit = state["run"]["commit"]
            if commit == now["commit"]:
                _refuse_other(run, state["run"], now)
            # The defaults of another commit may differ, so only what the plan says can be compared.
            _refuse_other(run, state["plan"], _said_by_plan(run))
            commits.setdefault(commit, run)
    if len(commits) > 1:
        spelt = " and ".join(f"{run.folder} at {commit}" for commit, run in commits.items())
        raise UserError(f"runs of several commits cannot be compared: {spelt}.")
    return arms


def run_state(run: TrainingRun) -> dict[str, Any] | None:
    """What a folder notes: `run` (its identity), `plan` (overrides), `finished`, `minutes`."""
    marker = run.folder / MARKER
    return json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None


def _is_finished(run: TrainingRun, now: dict[str, Any]) -> bool:
    state = run_state(run)
    if state is None:
        if run.folder.is_dir() and any(run.folder.iterdir()):
            raise UserError(
                f"{run.folder}: holds files that are not of this experiment; choose another output."
            )
        return False
    _refuse_other(run, state["run"], now)
    return state["finished"]


def _refuse_other(run: TrainingRun, known: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise where a folder's run is not the plan's; the sentence names the first difference."""
    known, now = flat(json.loads(to_json(known))), flat(json.loads(to_json(now)))
    for key in sorted(known.keys() | now.keys()):
        if known.get(key) != now.get(key):
            name = key.removeprefix("config.")
            raise UserError(
                f"{run.folder}: was trained with other settings ({name} was "
                f"{known.get(key, 'the default')!r}, now {now.get(key, 'the default')!r}); choose "
                "another output or delete the folder."
            )


def _mark(
    run: TrainingRun, now: dict[str, Any], finished: bool, minutes: float | None = None
) -> None:
    state = {"run": now, "plan": _said_by_plan(run), "finished": finished, "minutes": minutes}
    with atomic_write(run.folder / MARKER, encoding="utf-8") as file:
        file.write(to_json(state))


def _said_by_plan(run: TrainingRun) -> dict[str, str]:
    return {"config": run.config.name, **run.overrides}
