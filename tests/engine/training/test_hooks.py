from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from scb_d2.engine.training.hooks import BestCheckpointer


def _hook(folder: Path, mode: str = "max") -> tuple[BestCheckpointer, nn.Module]:
    model = nn.Linear(1, 1)
    hook = BestCheckpointer(2, model, str(folder), "bbox/APs", mode)
    hook.trainer = SimpleNamespace(iter=0, max_iter=6)
    return hook, model


def _run(hook: BestCheckpointer, model: nn.Module, values: dict[int, float]) -> None:
    with EventStorage() as storage:
        hook.trainer.storage = storage
        for iteration, value in values.items():
            hook.trainer.iter = storage.iter = iteration
            nn.init.constant_(model.weight, iteration)
            storage.put_scalar("bbox/APs", value, smoothing_hint=False)
            (hook.after_train if iteration == 5 else hook.after_step)()


@pytest.mark.parametrize(("mode", "best"), [("max", 5), ("min", 3)])
def test_the_best_weights_are_kept_the_last_evaluation_included(
    tmp_path: Path, mode: str, best: int
) -> None:
    hook, model = _hook(tmp_path, mode)
    _run(hook, model, {1: 2.0, 3: 1.0, 5: 3.0})
    saved = torch.load(tmp_path / "model_best.pth")
    assert saved["iteration"] == best
    assert saved["model"]["weight"].item() == best
    assert not (tmp_path / "last_checkpoint").exists()


def test_the_best_value_survives_resuming(tmp_path: Path) -> None:
    hook, model = _hook(tmp_path)
    _run(hook, model, {1: 2.0})
    resumed, model = _hook(tmp_path)
    resumed.load_state_dict(hook.state_dict())
    _run(resumed, model, {3: 1.0})
    assert torch.load(tmp_path / "model_best.pth")["iteration"] == 1


def test_a_value_that_is_nan_says_nothing_about_patience(tmp_path: Path) -> None:
    hook, model = _hook(tmp_path)
    _run(hook, model, {1: float("nan")})
    assert hook.evaluations_since_best == 0
    _run(hook, model, {1: 2.0, 3: 1.0})
    assert hook.evaluations_since_best == 1
    _run(hook, model, {1: float("nan")})
    assert hook.evaluations_since_best == 1
