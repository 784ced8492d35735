"""One sentence on stderr for an error that the user can mend, wherever it was raised."""

import logging
import re
import sys
from collections.abc import Callable

from ..errors import UserError

__all__ = ["hide_user_tracebacks", "report_user_errors", "user_sentence"]

_LAST_LINE = re.compile(r"^scb_d2\.[\w.]*Error: (.+)$")


def user_sentence(error: BaseException) -> str | None:
    """The sentence of a :class:`UserError`, also of one that crossed a process boundary.

    DataLoader workers and spawned ranks deliver an exception as text that ends in
    ``scb_d2.errors.DataError: <sentence>``, after the traceback.

    Returns:
        The sentence, or None where the error is not the user's.
    """
    lines = str(error).strip().splitlines()
    match = _LAST_LINE.match(lines[-1]) if lines else None
    if match:
        return match.group(1)
    return str(error) if isinstance(error, UserError) else None


def report_user_errors(command: Callable[[], int | None]) -> int:
    """Run a command line; print a :class:`UserError` as its sentence only.

    Args:
        command: called without arguments; returns an exit status or None for 0.

    Returns:
        The exit status; 1 after a user's error. Other exceptions pass through.
    """
    try:
        return command() or 0
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        sys.stdout.flush()
        print(sentence, file=sys.stderr)
        return 1


def hide_user_tracebacks() -> None:
    """Keep Detectron2's training loop from logging a traceback for a :class:`UserError`.

    Meant for command lines: it adds a filter to the loop's logger of this process.
    """
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_not_user_error)


def _is_not_user_error(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or user_sentence(error) is None
