"""Checkpoints and processes that do not fit, without a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.utils import comm

from scb_d2 import ConfigError
from scb_d2.engine.config.checkpoint_fit import check_same_start


def _checkpoint(folder: Path, iteration: int) -> None:
    folder.mkdir(exist_ok=True)
    name = f"model_{iteration:07d}.pth"
    torch.save({"model": {}, "trainer": {}, "iteration": iteration}, folder / name)
    (folder / "last_checkpoint").write_text(name)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("", "rank 0 would go on from model_0000003.pth and rank 1 from no checkpoint"),
        ("model_0000001.pth", "rank 0 would go on from model_0000003.pth and rank 1 from model_0"),
        ("model_0000003.pth", None),
    ],
)
def test_all_ranks_resume_from_one_checkpoint(
    other: str, sentence: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    _checkpoint(run, 3)
    monkeypatch.setattr(comm, "all_gather", lambda own: [own, other])
    if sentence is None:
        check_same_start(str(run), resume=True)
    else:
        with pytest.raises(ConfigError, match=sentence):
            check_same_start(str(run), resume=True)


def test_without_resume_checkpoints_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _checkpoint(tmp_path / "run", 3)
    monkeypatch.setattr(comm, "all_gather", lambda own: [own, ""])
    check_same_start(str(tmp_path / "run"), resume=False)
