"""What is said of a data set is one line of text, whatever its files hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scb_d2.data.reader.tally import Tally


def _message(example: str) -> str:
    tally = Tally("The file", {"fault": ("error", "has faults")})
    tally.add("fault", example)
    (finding,) = tally.findings()
    return finding.message


@pytest.mark.parametrize(
    ("example", "shown"),
    [
        ("1.png", "1.png"),
        ("größe 图.png", "größe 图.png"),
        ("1.png\n", "1.png\\n"),
        ("1\x00.png", "1\\x00.png"),
        ("\x1b[2J", "\\x1b[2J"),
        ("x" * 5000, "x" * 250 + "..."),
    ],
)
def test_examples_are_shown_on_one_line(example: str, shown: str) -> None:
    assert _message(example) == f"The file has faults: 1 ({shown})."


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_breaks_a_line_or_commands_a_terminal(example: str) -> None:
    message = _message(example)
    assert message.isprintable() and len(message) < 3000
