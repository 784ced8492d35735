"""One sentence on stderr for an error that the user can mend, wherever it was raised."""

import errno
import logging
import re
import sys
from collections.abc import Callable

from scb_d2.errors import UserError

__all__ = ["dead_worker", "hide_user_tracebacks", "report_user_errors", "user_sentence"]

_DISK = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}

_DEAD_WORKER = re.compile(r"DataLoader worker \(.*\) (is killed|exited)")
_LOST_PROCESS = re.compile(r"Connection (closed|reset) by peer")
_LAST_LINE = re.compile(r"^scb_d2\.[\w.]*Error: (.+)$")


def user_sentence(error: BaseException) -> str | None:
    """The sentence of a :class:`UserError`, also of one that crossed a process boundary.

    DataLoader workers and spawned ranks deliver an exception as text that ends in
    ``scb_d2.errors.DataError: <sentence>``, after the traceback. A disk that is full is the user's
    to mend too.

    Returns:
        The sentence, or None where the error is not the user's.
    """
    # A UserError shows itself in one line; the traceback before the sentence needs its lines.
    text = ValueError.__str__(error) if isinstance(error, UserError) else str(error)
    lines = text.strip().splitlines()
    match = _LAST_LINE.match(lines[-1]) if lines else None
    if match:
        return match.group(1)
    return str(error) if isinstance(error, UserError) else _disk_sentence(error)


def _disk_sentence(error: BaseException) -> str | None:
    # torch.save raises a RuntimeError while the disk's error is handled.
    cause = error.__context__ if isinstance(error, RuntimeError) else error
    if not isinstance(cause, OSError) or cause.errno not in _DISK:
        return None
    path = f"{cause.filename} cannot" if cause.filename else "a file cannot"
    return (
        f"{path} be written ({cause.strerror}); files that were there are untouched, so make room "
        "and start again, a training with --resume."
    )


def dead_worker(error: BaseException) -> str | None:
    """What torch said of a data loader's process that died, or None for any other error.

    torch raises it from a signal's handler, so in the midst of whatever the process was doing; what
    was interrupted may then fail in its own words, so the errors before it are looked at too.
    """
    link: BaseException | None = error
    while link is not None:
        said = " ".join(str(link).split())
        if isinstance(link, RuntimeError) and _DEAD_WORKER.search(said):
            return said
        link = link.__cause__ or link.__context__
    return None


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

    Nor for what follows from it in the other processes of the run, which lose their connection and
    may do so before they are ended, nor for a data loader's process that died, which torch may tell
    of at a moment when nothing can give it its sentence; the error itself goes on. Meant for
    command lines: it adds a filter to the loop's logger of this process.
    """
    logging.getLogger("detectron2.engine.train_loop").addFilter(_needs_traceback)


def _needs_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return True
    if user_sentence(error) or dead_worker(error):
        return False
    return not _LOST_PROCESS.search(str(error))
