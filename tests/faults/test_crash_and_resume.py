"""A run that is killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import scb_d2.utils.files
from scb_d2.engine.training.trainer import Trainer
from tests.faults.runs import (
    REPO_ROOT,
    differences,
    kill_at_call,
    left_by,
    run_process,
    tiny_config,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, Any]:
    """What a run of one process leaves, without workers."""
    config = tiny_config(folder, "undisturbed")
    ended = run_process(["--config-file", config], folder / "undisturbed.log")
    assert ended.status == 0, ended.output
    return left_by(folder / "undisturbed")


def _kill(config: Path, folder: Path, owner: Any, function: str, call: int) -> None:
    """Start or go on with a run that kills itself when it calls ``function`` that often."""
    prepare = kill_at_call(owner, function, call)
    killed = run_process(["--config-file", config, "--resume"], folder / "log", prepare)
    assert killed.status == -signal.SIGKILL, killed.output


def _resume(config: Path, folder: Path) -> dict[str, Any]:
    run = folder / config.stem
    ended = run_process(["--config-file", config, "--resume"], folder / f"{config.stem}.log")
    assert ended.status == 0, ended.output
    assert "Traceback" not in ended.output
    assert not list(run.glob("*.partial"))
    return left_by(run)


def test_the_state_that_a_run_needs_is_in_its_checkpoint(undisturbed: dict[str, Any]) -> None:
    trainer = undisturbed["final"]["trainer"]
    (own,) = trainer["hooks"]["LossNormalizers"]["ranks"]
    assert own[""] != 100
    assert trainer["hooks"]["BestCheckpointer"]["best_iter"] == 3
    assert not [name for name in undisturbed["final"]["model"] if "normalizer" in name]
    assert set(undisturbed["best"]) == {"model", "iteration"}


def test_batches_do_not_depend_on_workers(folder: Path, undisturbed: dict[str, Any]) -> None:
    config = tiny_config(folder, "workers", DATALOADER__NUM_WORKERS=2)
    ended = run_process(["--config-file", config], folder / "workers.log")
    assert ended.status == 0, ended.output
    assert not differences(undisturbed, left_by(folder / "workers"))


# A save is: sync the file, rename it, sync its folder, then the same for last_checkpoint. The first
# file is config.yaml.
@pytest.mark.parametrize(
    ("function", "call"), [("fsync", 3), ("fsync", 7), ("replace", 2), ("replace", 5)]
)
def test_killed_while_a_checkpoint_is_written(
    folder: Path, undisturbed: dict[str, Any], function: str, call: int
) -> None:
    config = tiny_config(folder, f"{function}{call}")
    _kill(config, folder, scb_d2.utils.files.os, function, call)
    assert not differences(undisturbed, _resume(config, folder))


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle_of_training(
    folder: Path, undisturbed: dict[str, Any], workers: int
) -> None:
    config = tiny_config(folder, f"middle{workers}", DATALOADER__NUM_WORKERS=workers)
    for step in (4, 3):  # of the process, so iterations 3 and 4
        _kill(config, folder, Trainer, "run_step", step)
    assert not differences(undisturbed, _resume(config, folder))


def test_killed_in_an_evaluation_that_decides_on_the_best(
    folder: Path, undisturbed: dict[str, Any]
) -> None:
    config = tiny_config(folder, "evaluation")
    _kill(config, folder, Trainer, "_evaluate", 1)
    resumed = _resume(config, folder)
    assert "Evaluating iteration 3, after which" in (folder / "evaluation.log").read_text()
    assert not differences(undisturbed, resumed)


def test_a_full_disk_stops_the_run_and_costs_nothing(
    folder: Path, undisturbed: dict[str, Any]
) -> None:
    config = tiny_config(folder, "full")
    _kill(config, folder, Trainer, "run_step", 4)
    before = (folder / "full" / "last_checkpoint").read_text()

    def limit() -> None:
        size = (folder / "full" / before).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    ended = run_process(["--config-file", config, "--resume"], folder / "log", limit)
    assert ended.status == 1
    assert "cannot be written (File too large); earlier ones are untouched" in ended.output
    assert "Traceback" not in ended.output
    assert (folder / "full" / "last_checkpoint").read_text() == before
    assert not differences(undisturbed, _resume(config, folder))


def _kill_a_worker() -> None:
    multiprocessing.active_children()[0].kill()


def _kill_a_worker_in_a_step() -> None:
    original: Callable[..., None] = Trainer.run_step

    def run_step(self: Trainer) -> None:
        if self.iter == 3:
            _kill_a_worker()
        original(self)

    Trainer.run_step = run_step


def _kill_a_worker_in_a_save() -> None:
    original: Callable[..., None] = torch.save

    def save(state: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if isinstance(state, dict) and state.get("iteration") == 3:
            _kill_a_worker()
            time.sleep(60)  # the signal's handler raises here
        original(state, *args, **kwargs)

    torch.save = save


@pytest.mark.parametrize("kill", [_kill_a_worker_in_a_step, _kill_a_worker_in_a_save])
def test_a_dying_worker_is_one_sentence(
    folder: Path, undisturbed: dict[str, Any], kill: Callable[[], None]
) -> None:
    config = tiny_config(folder, kill.__name__, DATALOADER__NUM_WORKERS=2)
    ended = run_process(["--config-file", config], folder / "log", kill)
    assert ended.status == 1
    assert "because a data loader's process died: DataLoader worker" in ended.output, ended.output
    assert "Traceback" not in ended.output
    assert not differences(undisturbed, _resume(config, folder))


@pytest.mark.parametrize("fault", ["empty tag", "dangling tag", "truncated", "flipped bit"])
def test_what_is_not_whole_is_skipped(
    folder: Path, undisturbed: dict[str, Any], fault: str
) -> None:
    config = tiny_config(folder, fault.replace(" ", "_"))
    run = folder / config.stem
    _kill(config, folder, Trainer, "run_step", 6)
    assert (run / "last_checkpoint").read_text() == "model_0000003.pth"
    checkpoint = run / "model_0000003.pth"
    if fault == "empty tag":
        (run / "last_checkpoint").write_text("")
    elif fault == "dangling tag":
        (run / "last_checkpoint").write_text("model_0000005.pth")
    else:
        content = bytearray(checkpoint.read_bytes())
        middle = len(content) // 2
        content[middle] ^= 1
        checkpoint.write_bytes(content if fault == "flipped bit" else content[:middle])
    with (run / "metrics.json").open("a") as file:
        file.write('{"iteration": 4, "lo')
    resumed = _resume(config, folder)
    first = 4 if fault.endswith("tag") else 2
    assert (
        f"Starting training from iteration {first}" in (folder / f"{config.stem}.log").read_text()
    )
    assert not differences(undisturbed, resumed)
    lines = (run / "metrics.json").read_text().splitlines()
    assert json.loads(lines[-1])["iteration"] >= 7
    assert all(line.endswith("}") for line in lines)


def test_patience_ends_a_run_once_and_for_all(folder: Path) -> None:
    changes = {
        "TEST": {"EVAL_PERIOD": 2, "BEST_METRIC": "bbox/AP", "PATIENCE": 1},
        "SOLVER__BASE_LR": 0.0,  # nothing gets better
    }
    config = tiny_config(folder, "patience", **changes)
    ended = run_process(["--config-file", config], folder / "log")
    assert ended.status == 0
    assert "No better value in 1 evaluations: training ends after iteration 3." in ended.output
    left = left_by(folder / "patience")
    assert (left["final"]["iteration"], left["best"]["iteration"]) == (3, 1)
    assert not differences(left, _resume(config, folder))

    config = tiny_config(folder, "patience_killed", **changes)
    from scb_d2.engine.training.hooks import Patience

    _kill(config, folder, Patience, "after_step", 4)
    assert not differences(left, _resume(config, folder))


LAZY_FCOS = """
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec
from scb_d2.data.registration import register_shapes

register_shapes({root!r}, 64, 8, 2)
parts = LazyConfig.load({base!r})
model, optimizer, lr_multiplier = parts.model, parts.optimizer, parts.lr_multiplier
dataloader, train = parts.dataloader, parts.train
model.num_classes = 4
model.head.conv_dims = [8]
model.head.norm = ""
model.head.input_shape = [ShapeSpec(channels=8)] * 5
model.backbone.out_channels = model.backbone.top_block.in_channels = 8
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages.stride_in_1x1
dataloader.train.dataset.names, dataloader.test.dataset.names = "shapes_train", "shapes_val"
dataloader.train.mapper.augmentations[0].short_edge_length = [56, 64]
dataloader.test.mapper.augmentations[0].short_edge_length = 64
dataloader.train.num_workers = dataloader.test.num_workers = 0
dataloader.train.total_batch_size = 2
optimizer.lr = 1e-4
train.update(
    init_checkpoint="", max_iter=4, eval_period=4, checkpointer=dict(period=2, max_to_keep=9),
    output_dir={output!r}, seed=1, device="cpu", best_metric="bbox/AP",
)
del parts
"""


def _lazy_fcos(folder: Path, run: str) -> Path:
    base = REPO_ROOT / "configs" / "lazy" / "fcos_scb.py"
    path = folder / f"{run}.py"
    shapes = {"root": str(folder / "shapes"), "output": str(folder / run)}
    path.write_text(LAZY_FCOS.format(base=str(base), **shapes))
    return path


def _atss(folder: Path, run: str) -> Path:
    atss = {"NAME": "atss"}
    return tiny_config(
        folder, run, MODEL__ANCHOR_MATCHER=atss, SOLVER__MAX_ITER=4, SOLVER__STEPS=[]
    )


@pytest.mark.parametrize("make", [_lazy_fcos, _atss])
def test_fcos_and_atss_killed_in_the_middle_of_training(
    folder: Path, make: Callable[[Path, str], Path]
) -> None:
    config = make(folder, f"{make.__name__}_whole")
    ended = run_process(["--config-file", config], folder / "whole.log")
    assert ended.status == 0, ended.output
    whole = left_by(config.with_suffix(""))
    config = make(folder, f"{make.__name__}_killed")
    _kill(config, folder, Trainer, "run_step", 4)
    assert not (config.with_suffix("") / "model_final.pth").exists()
    assert not differences(whole, _resume(config, folder))


@pytest.mark.slow
def test_two_processes(folder: Path) -> None:
    # Ranks are spawned, so that the kill comes from outside: when the second checkpoint is there.
    flags = ["--num-gpus", "2", "MODEL.DEVICE", "cpu"]
    config = tiny_config(folder, "two")
    ended = run_process(["--config-file", config, *flags], folder / "two.log")
    assert ended.status == 0, ended.output
    expected = left_by(folder / "two")
    assert len(expected["final"]["trainer"]["hooks"]["LossNormalizers"]["ranks"]) == 2

    config = tiny_config(folder, "two_killed")
    from scb_d2.engine import main as command_line

    def prepare() -> None:
        import threading
        import time

        def watch() -> None:
            while not (folder / "two_killed" / "model_0000003.pth").exists():
                time.sleep(0.01)
            os.killpg(0, signal.SIGKILL)

        threading.Thread(target=watch, daemon=True).start()

    assert command_line.main
    assert run_process(["--config-file", config, *flags], folder / "log", prepare).status < 0
    assert not (folder / "two_killed" / "model_final.pth").exists()
    ended = run_process(["--config-file", config, "--resume", *flags], folder / "two.log")
    assert ended.status == 0, ended.output
    assert not differences(expected, left_by(folder / "two_killed"))


@pytest.mark.long
def test_two_processes_killed_at_random_moments(folder: Path) -> None:
    flags = ["--resume", "--num-gpus", "2", "MODEL.DEVICE", "cpu"]
    config = tiny_config(folder, "two_undisturbed")
    start = time.monotonic()
    ended = run_process(["--config-file", config, *flags], folder / "log")
    assert ended.status == 0, ended.output
    seconds = time.monotonic() - start
    expected = left_by(folder / "two_undisturbed")
    dice, kills = random.Random(2), 0
    for number in range(int(os.environ.get("KILLED_RUNS", "10"))):
        config = tiny_config(folder, f"two_random_{number}")
        command = ["--config-file", config, *flags]
        for _ in range(2):
            ended = run_process(
                command,
                folder / "log",
                kill_after=dice.uniform(0.3, 1) * seconds,  # it takes long to spawn two processes
                with_signal=dice.choice([signal.SIGKILL, signal.SIGTERM]),
                only_a_rank=dice.random() < 0.5,
            )
            kills += ended.status != 0
        ended = run_process(command, folder / "two_random.log")
        assert ended.status == 0, ended.output
        assert not differences(expected, left_by(config.with_suffix("")))
    print(f"{kills} kills survived with 2 processes")


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_moments(folder: Path, undisturbed: dict[str, Any], workers: int) -> None:
    dice = random.Random(workers)
    kills = 0
    for number in range(int(os.environ.get("KILLED_RUNS", "10"))):
        config = tiny_config(folder, f"random{workers}_{number}", DATALOADER__NUM_WORKERS=workers)
        for _ in range(3):
            ended = run_process(
                ["--config-file", config, "--resume"],
                folder / "log",
                kill_after=dice.uniform(0.3, 5),
                with_signal=dice.choice([signal.SIGKILL, signal.SIGTERM]),
            )
            assert ended.status <= 0, ended.output
            kills += ended.status < 0
        assert not differences(undisturbed, _resume(config, folder))
    print(f"{kills} kills survived with {workers} workers")
