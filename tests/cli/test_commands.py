"""The dispatcher of ``scb-d2``; the commands have tests of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scb_d2 import cli

GREET = '''"""Greet somebody.

In more words.
"""


def add_arguments(parser):
    parser.add_argument("run")
    parser.add_argument("--status", type=int)


def run(args):
    from scb_d2 import DataError

    if args.run == "nobody":
        raise DataError("nobody is here.")
    print("hello", args.run)
    return args.status
'''


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "greet.py").write_text(GREET)
    (tmp_path / "slow.py").write_text('"""Take long to import."""\n\n1 / 0\n')
    (tmp_path / "_helper.py").write_text("")
    monkeypatch.setattr(cli, "__path__", [str(tmp_path)])
    yield
    sys.modules.pop("scb_d2.cli.greet", None)


def test_a_command_runs_and_gives_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["greet", "you"]) == 0
    assert cli.main(["greet", "you", "--status", "3"]) == 3
    assert capsys.readouterr().out == "hello you\n" * 2


def test_wrong_input_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["greet", "nobody"]) == 1
    assert capsys.readouterr().err == "nobody is here.\n"


def test_help_lists_the_commands_without_importing_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    listed = capsys.readouterr().out
    assert "Greet somebody." in listed
    assert "Take long to import." in listed
    assert "helper" not in listed


@pytest.mark.parametrize("argv", [[], ["nope"], ["greet"], ["greet", "you", "--nope"]])
def test_wrong_flags_exit_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(argv)
    assert exit_.value.code == 2
