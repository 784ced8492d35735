"""Tiny training runs in processes that can be killed, and what is left of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from scb_d2.engine.main import main

REPO_ROOT = Path(__file__).resolve().parents[2]


def tiny_config(folder: Path, run: str, **changes: Any) -> Path:
    """RetinaNet+SCB on eight 64 px images: eight iterations of two, some 150 kB of weights."""
    config: dict[str, Any] = {
        "_BASE_": str(REPO_ROOT / "configs" / "retinanet_scb.yaml"),
        "MODEL": {
            "WEIGHTS": "",
            "RESNETS": {
                "DEPTH": 50,
                "STEM_OUT_CHANNELS": 4,
                "RES2_OUT_CHANNELS": 8,
                "WIDTH_PER_GROUP": 4,
            },
            "FPN": {"OUT_CHANNELS": 8},
            "RETINANET": {"NUM_CLASSES": 4, "NUM_CONVS": 1},
        },
        "DATASETS": {
            "TRAIN": ["shapes_train"],
            "TEST": ["shapes_val"],
            "SYNTHETIC": {
                "ROOT": str(folder / "shapes"),
                "IMAGE_SIZE": 64,
                "TRAIN_IMAGES": 8,
                "VAL_IMAGES": 2,
            },
        },
        "INPUT": {"MIN_SIZE_TRAIN": [56, 64], "MIN_SIZE_TEST": 64},
        "SOLVER": {
            "IMS_PER_BATCH": 2,
            "BASE_LR": 0.0001,
            "MAX_ITER": 8,
            "STEPS": [6],
            "WARMUP_ITERS": 3,
            "CHECKPOINT_PERIOD": 2,
        },
        "TEST": {"EVAL_PERIOD": 4, "BEST_METRIC": "bbox/AP"},
        "DATALOADER": {"NUM_WORKERS": 0},
        "OUTPUT_DIR": str(folder / run),
        "SEED": 3,
    }
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    path = folder / f"{run}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class Ended(NamedTuple):
    """How a process ended: its exit status (negative: the signal) and what it wrote."""

    status: int
    output: str


def run_process(
    argv: Sequence[str],
    log: Path,
    prepare: Callable[[], object] | None = None,
    kill_after: float | None = None,
    with_signal: int = signal.SIGKILL,
    only_a_rank: bool = False,
) -> Ended:
    """Run ``train_net.py``'s command line in a forked process.

    Args:
        argv: its arguments.
        log: file for what it writes.
        prepare: called in that process first.
        kill_after: seconds until the process and its own are killed, if it still runs.
        with_signal: what they are killed with.
        only_a_rank: whether only the last process that it has spawned is killed, if there is one.
    """
    child = multiprocessing.get_context("fork").Process(
        target=_child, args=(list(map(str, argv)), log, prepare)
    )
    child.start()
    child.join(kill_after)
    if child.is_alive():
        ranks = _spawned_by(child.pid) if only_a_rank else []
        if ranks:
            os.kill(ranks[-1], with_signal)
        else:
            os.killpg(child.pid, with_signal)
        child.join()
    return Ended(child.exitcode, log.read_text() if log.exists() else "")


def _spawned_by(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(x) for x in children if "spawn_main" in Path(f"/proc/{x}/cmdline").read_text()]


def _child(argv: list[str], log: Path, prepare: Callable[[], object] | None) -> None:
    os.setsid()
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    if prepare is not None:
        prepare()
    status = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def kill_at_call(module: Any, name: str, number: int) -> Callable[[], None]:
    """What makes a process kill itself at the ``number``-th call of ``module.name``."""

    def prepare() -> None:
        original, calls = getattr(module, name), []

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls.append(threading.get_ident())
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(module, name, counting)

    return prepare


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where two nested structures of tensors and plain values differ in a single bit."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = [*expected, *(key for key in found if key not in expected)]
        return [
            line
            for key in keys
            for line in differences(expected.get(key), found.get(key), f"{where}/{key}")
        ]
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(expected) != len(found):
            return [where]
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{where}/{i}")]
    if torch.is_tensor(expected) and torch.is_tensor(found):
        return [] if torch.equal(expected, found) else [where]
    return [] if expected == found else [where]


def left_by(run: Path) -> dict[str, Any]:
    """The checkpoints that a finished run ends with, and its results."""
    return {
        "final": torch.load(run / "model_final.pth"),
        "best": torch.load(run / "model_best.pth"),
        "last": (run / "last_checkpoint").read_text(),
        "results": (run / "results.json").read_text(),
    }
