"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["PARTIAL_SUFFIX", "atomic_write"]

PARTIAL_SUFFIX = ".partial"


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", **kwargs: Any) -> Iterator[IO[Any]]:
    """Open a file to write that takes its name only when it is complete and on the disk.

    It is written beside its place, synced and renamed. After an exception, and after a kill at any
    moment, ``path`` is as it was.

    Args:
        path: local file; its folder exists.
        mode: ``"w"`` or ``"wb"``.
        **kwargs: of :func:`open`.
    """
    partial = f"{path}{PARTIAL_SUFFIX}"
    try:
        with open(partial, mode, **kwargs) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    _sync_folder(os.path.dirname(os.path.abspath(path)))


def _sync_folder(folder: str) -> None:
    """Make a rename last through a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
