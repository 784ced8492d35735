"""The command line as a user runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def _run(repo_root: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_wrong_config_ends_in_one_sentence(repo_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text("kept")
    config = str(repo_root / "configs" / "retinanet_scb.yaml")
    opts = ["OUTPUT_DIR", str(run), "MODEL.SCB.FORM", "bogus"]
    result = _run(repo_root, str(repo_root / "train_net.py"), "--config-file", config, *opts)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "MODEL.SCB.FORM must be one of" in result.stderr
    assert "Traceback" not in result.stdout
    assert [path.name for path in run.iterdir()] == ["metrics.json"]
    assert (run / "metrics.json").read_text() == "kept"


def test_flags_are_detectron2s(repo_root: Path) -> None:
    result = _run(repo_root, str(repo_root / "train_net.py"), "--help")
    assert result.returncode == 0
    for flag in ("--config-file", "--resume", "--eval-only", "--num-gpus", "--dist-url"):
        assert flag in result.stdout
    assert _run(repo_root, str(repo_root / "train_net.py"), "--nope").returncode == 2


@pytest.mark.parametrize("flags", [(), ("--help",)])
def test_scb_d2_lists_its_commands(repo_root: Path, flags: tuple[str, ...]) -> None:
    result = _run(repo_root, "-m", "scb_d2", *flags)
    assert result.returncode == (0 if flags else 2)
    assert "usage: scb-d2" in result.stdout + result.stderr
