"""Files that are there whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from scb_d2.errors import UserError

__all__ = [
    "PARTIAL_SUFFIX",
    "WholeFilePaths",
    "atomic_write",
    "make_output_folder",
    "rename_whole",
    "staged_directory",
    "sync_file",
]

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
        rename_whole(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def rename_whole(partial: str | Path, path: str | Path) -> None:
    """Give a file that was written beside its place its name, once it is on the disk.

    Args:
        partial: complete local file.
        path: its place, on the same file system; an older file there is replaced.
    """
    sync_file(partial)
    os.replace(partial, path)
    _sync_folder(os.path.dirname(os.path.abspath(path)))


def sync_file(path: str | Path) -> None:
    """Wait until a closed local file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def make_output_folder(output: str | Path, name: str = "--output") -> None:
    """Make a folder to write into, and those above it, if it is not there.

    Args:
        output: the folder.
        name: what the user knows it by, for the message.

    Raises:
        UserError: it cannot be made, or not be written into.
    """
    try:
        os.makedirs(output, exist_ok=True)
        if not os.access(output, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"{name} {output}: cannot be written ({error.strerror}).") from error


@contextmanager
def staged_directory(output: str | Path, name: str = "--output") -> Iterator[Path]:
    """A folder to write into, which takes the place of `output` only when all went well.

    After an exception `output` is as it was. An existing `output` keeps its other files.

    Args:
        output: the folder.
        name: what the user knows it by, for the messages.

    Raises:
        UserError: `output` is a file, or its parent cannot be written to.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"{name} {output}: is a file; a folder is needed.")
    stage = output.parent / f".{output.name}.partial-{os.getpid()}"
    # A process that was killed may have had the same number; in a container it mostly has.
    shutil.rmtree(stage, ignore_errors=True)
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{name} {output}: cannot be written ({error.strerror}).") from error
    try:
        yield stage
        if output.exists():
            for file in sorted(path for path in stage.rglob("*") if path.is_file()):
                target = output / file.relative_to(stage)
                target.parent.mkdir(parents=True, exist_ok=True)
                rename_whole(file, target)
        else:
            for file in (path for path in stage.rglob("*") if path.is_file()):
                sync_file(file)
            os.rename(stage, output)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


class WholeFilePaths:
    """A path manager of Detectron2, through which local files are written by :func:`atomic_write`.

    What it appends to, reads, or writes elsewhere goes to the path manager as it is.
    """

    def __init__(self, path_manager: Any) -> None:
        """Wrap ``path_manager``, which stays as it is."""
        self._path_manager = path_manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self._path_manager, name)

    def open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        if "w" in mode and "://" not in path:
            return atomic_write(path, mode)
        return self._path_manager.open(path, mode, **kwargs)


def _sync_folder(folder: str) -> None:
    """Make a rename last through a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
