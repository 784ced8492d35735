"""The command line as a user runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.engine import default_argument_parser

from scb_d2.engine.flags import train_net_parser


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


def test_flags_are_detectron2s_own_and_one_more() -> None:
    def flags(parser):
        return {a.dest: (a.option_strings, a.default, a.type, a.nargs) for a in parser._actions}

    ours = flags(train_net_parser())
    assert ours.pop("no_rehearsal")[0] == ["--no-rehearsal"]
    assert ours == flags(default_argument_parser())


@pytest.mark.parametrize("command", [("-m", "scb_d2", "--help"), ("train_net.py", "--help")])
def test_help_imports_neither_torch_nor_detectron2(
    repo_root: Path, command: tuple[str, ...]
) -> None:
    if command[0].endswith(".py"):
        command = (str(repo_root / command[0]), *command[1:])
    result = _run(repo_root, "-X", "importtime", *command)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert result.returncode == 0 and "scb_d2" in imported
    assert not {"torch", "detectron2", "numpy"} & imported


@pytest.mark.parametrize(
    ("word", "says"),
    [("matchs", "did you mean matches?"), ("xyz", "there are advise, check, compare,")],
)
def test_a_misspelt_command_is_helped(repo_root: Path, word: str, says: str) -> None:
    result = _run(repo_root, "-m", "scb_d2", word)
    assert result.returncode == 2
    assert f"{word} is not a command; {says}" in result.stderr


def test_needless_warnings_reach_the_log_and_not_the_screen(tmp_path: Path, repo_root) -> None:
    script = tmp_path / "command.py"
    script.write_text(
        "import warnings\n"
        "from scb_d2.utils.needless_warnings import hide_needless_warnings, log_hidden_warnings\n"
        "hide_needless_warnings()\n"
        "warnings.warn('`torch.jit.script` is deprecated', FutureWarning)\n"
        "warnings.warn('mind this')\n"
        f"log_hidden_warnings({str(tmp_path)!r}, 0)\n"
        "warnings.warn('torch.meshgrid: pass the indexing argument')\n"
    )
    result = _run(repo_root, str(script))
    assert "mind this" in result.stderr
    assert "torch.jit" not in result.stderr and "meshgrid" not in result.stderr
    log = (tmp_path / "log.txt").read_text()
    assert "torch.jit" in log and "meshgrid" in log
