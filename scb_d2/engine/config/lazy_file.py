"""Running a LazyConfig file, which is a user's Python, so that its errors name file and line."""

import builtins
import copy
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from detectron2.config import LazyConfig
from omegaconf import DictConfig

from scb_d2.errors import ConfigError, UserError

__all__ = ["run_lazy_file", "running_once"]

_RUN: ContextVar[dict[str, DictConfig] | None] = ContextVar("files run before", default=None)

_PACKAGE = "detectron2._cfg_loader"  # of which Detectron2 makes every config file a module


@contextmanager
def running_once() -> Iterator[None]:
    """Run no file twice, for what loads a config again and again with other overrides.

    A file may register data sets by Detectron2's own functions, which refuse a name twice.
    """
    token = _RUN.set({})
    try:
        yield
    finally:
        _RUN.reset(token)


def run_lazy_file(path: str) -> DictConfig:
    """The config that a LazyConfig ``.py`` file, and those that it imports, describe.

    Args:
        path: an existing file. It is code and is run.

    Raises:
        ConfigError: if a file is no Python or raises; names the file, the line and what was raised.
    """
    run = _RUN.get()
    if run is None:
        return _run(path)
    key = os.path.realpath(path)
    if key not in run:
        run[key] = _run(path)
    return copy.deepcopy(run[key])


def _run(path: str) -> DictConfig:
    imports = builtins.__import__
    try:
        return LazyConfig.load(path)
    except Exception as error:
        broken = _broken_file(error)
        if broken is not None:
            raise ConfigError(broken) from None
        place = _place(error, path)
        raise ConfigError(f"{place} raised {_reason(error)}.") from error
    finally:
        builtins.__import__ = imports  # Detectron2 leaves its own behind when a file raises


def _broken_file(error: Exception) -> str | None:
    """A sentence about a file that is no Python: the config's own or one that it imports."""
    if not isinstance(error, SyntaxError):
        return None
    # Detectron2 parses a file before it is run, and names it in its own message alone.
    told = re.match(r"Config file (.+) has syntax error", str(error))
    wrong = error.__cause__ if told else error
    file = told[1] if told else error.filename
    if not isinstance(wrong, SyntaxError) or not os.path.isfile(file or ""):
        return None
    return f"{file}, line {wrong.lineno}, is not valid Python: {wrong.msg}."


def _place(error: Exception, path: str) -> str:
    """File and line of the innermost frame that is a config file's own."""
    place = path
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__package__") or "").startswith(_PACKAGE):
            place = f"{frame.f_code.co_filename}, line {line},"
    return place


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, UserError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
