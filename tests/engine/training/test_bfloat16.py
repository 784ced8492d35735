"""Mixed precision on the CPU: what is in bfloat16, how far it is off, how a run resumes."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from scb_d2 import build_model
from scb_d2.engine import device
from scb_d2.engine.main import main
from scb_d2.engine.training.bfloat16 import GuardedBFloat16Trainer, lay_out_for_bfloat16
from scb_d2.engine.training.nonfinite import GuardedTrainer
from scb_d2.engine.training.trainer import Trainer
from tests.faults.runs import differences, kill_at_call, left_by, run_process, tiny_config
from tests.modeling.detectors import image, retinanet_config
from tests.modeling.test_extreme_scenes import DETECTORS

BOXES = [[10, 10, 40, 41], [20, 25, 90, 80], [50, 5, 80, 30]]


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests run on any CPU, if slowly."""
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: True)


def _data(size: int) -> list[dict]:
    torch.manual_seed(3)
    return [image(BOXES, [0, 1, 2], size), image([[5, 8, 60, 70]], [3], size)]


def _gradients(model: nn.Module, data: list[dict], enabled: bool) -> tuple[Tensor, list[Tensor]]:
    """All gradients in a row, and the losses, of a copy that is as new."""
    model = copy.deepcopy(model).train()
    if enabled:
        lay_out_for_bfloat16(model)
    torch.manual_seed(1)
    with EventStorage():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = list(model(copy.deepcopy(data)).values())
        sum(losses).backward()
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([gradient.flatten() for gradient in gradients]), losses


@pytest.mark.parametrize("name", DETECTORS)
def test_gradients_are_as_near_as_bfloat16_weights_allow(name: str) -> None:
    # An untrained network is no smooth function, so that the measure is what a rounding of the
    # weights alone does to the gradients: bfloat16 may do twice that.
    torch.manual_seed(0)
    model = DETECTORS[name](False)
    data = _data(getattr(model, "image_size", 160))
    expected, _ = _gradients(model, data, False)
    found, losses = _gradients(model, data, True)
    assert found.dtype == torch.float32
    assert {loss.dtype for loss in losses} == {torch.float32}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    rounded, _ = _gradients(model, data, False)
    assert 0 < (found - expected).norm() <= 2 * (rounded - expected).norm()


def _trained(
    trainer_class: type[GuardedTrainer], seed: int, iterations: int
) -> tuple[GuardedTrainer, list[float]]:
    """A small RetinaNet that learns four images by heart, and its losses."""
    torch.manual_seed(seed)
    model = build_model(retinanet_config("MODEL.RESNETS.NORM", "BN"))
    images = [*_data(96), *_data(96)]
    batches: Iterator[list[dict]] = itertools.cycle([images[:2], images[2:]])
    model.loss_normalizer = 15  # at which its moving average arrives
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003, momentum=0.9)
    trainer = trainer_class(model, batches, optimizer)
    losses = []
    with EventStorage() as storage:
        for trainer.iter in range(iterations):
            storage.iter = trainer.iter
            torch.manual_seed(trainer.iter)
            with torch.jit.optimized_execution(False):  # which rounds first calls otherwise
                trainer.run_step()
            losses.append(storage.latest()["total_loss"][0])
    return trainer, losses


def test_a_step_is_that_of_detectron2_but_for_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = _trained(GuardedTrainer, 1, 3)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    found, _ = _trained(GuardedBFloat16Trainer, 1, 3)
    assert not differences(expected.model.state_dict(), found.model.state_dict())
    assert not differences(expected.state_dict(), found.state_dict())


def test_convolutions_are_in_bfloat16_and_what_is_kept_in_float32() -> None:
    trainer, _ = _trained(GuardedBFloat16Trainer, 1, 1)
    seen = []
    trainer.model.backbone.bottom_up.stem.conv1.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    with EventStorage():
        trainer.run_step()
    assert seen == [torch.bfloat16]
    kept = [p.dtype for p in trainer.model.parameters()]
    kept += [s["momentum_buffer"].dtype for s in trainer.optimizer.state.values()]
    assert set(kept) == {torch.float32}
    trainer.model.eval()
    with torch.no_grad():
        trainer.model(_data(64)[:1])
    assert seen[1:] == [torch.float32]


def test_a_schedule_ends_within_the_spread_of_seeds() -> None:
    ends = {}
    for trainer_class in (GuardedTrainer, GuardedBFloat16Trainer):
        runs = [_trained(trainer_class, seed, 12)[1] for seed in (1, 2, 3)]
        assert all(losses[0] > 1.5 * losses[-1] for losses in runs)
        ends[trainer_class] = torch.tensor([losses[-3:] for losses in runs]).mean(1)
    single, mixed = ends.values()
    assert (mixed.mean() - single.mean()).abs() <= single.max() - single.min()


def test_maps_too_small_for_pytorch_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, "small", SOLVER__AMP={"ENABLED": True})
    assert main(["--config-file", str(config), "MODEL.DEVICE", "cpu"]) == 1
    sentence = capfd.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("backbone.top_block.p7 gets a map of 1 x 1")


def test_a_killed_run_resumes_to_the_bit(tmp_path: Path) -> None:
    left = []
    for name in ("undisturbed", "killed"):
        config = tiny_config(
            tmp_path,
            name,
            INPUT={"MIN_SIZE_TRAIN": [112, 128], "MIN_SIZE_TEST": 128},
            SOLVER__AMP={"ENABLED": True},
            DATASETS__SYNTHETIC={
                "ROOT": str(tmp_path / "shapes"),
                "IMAGE_SIZE": 128,
                "TRAIN_IMAGES": 8,
                "VAL_IMAGES": 2,
            },
        )
        command = ["--config-file", config, "--resume", "MODEL.DEVICE", "cpu"]
        if name == "killed":
            prepare = kill_at_call(Trainer, "run_step", 6)
            assert run_process(command, tmp_path / "log", prepare).status < 0
        ended = run_process(command, tmp_path / "log")
        assert ended.status == 0, ended.output
        left.append(left_by(tmp_path / name))
    assert not differences(*left)
    assert "grad_scaler" not in left[0]["final"]["trainer"]["_trainer"]
