"""Checkpoints that are whole, load without running code, and are found again after a crash."""

import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager

from scb_d2.errors import ConfigError, RunError
from scb_d2.utils.files import PARTIAL_SUFFIX, WholeFilePaths
from scb_d2.utils.tensors import check_arrays, load_tensors
from scb_d2.utils.user_errors import dead_worker

__all__ = [
    "SafeCheckpointer",
    "UntaggedCheckpointer",
    "clean_run_folder",
    "find_checkpoint",
]

logger = logging.getLogger(__name__)

_TAG = "last_checkpoint"
_NAME = re.compile(r"model_(\d+|final)\.pth")
_STATE = {"model", "trainer", "iteration"}


class SafeCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, which writes files whole and loads nothing that can run code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Args as in :class:`detectron2.checkpoint.DetectionCheckpointer`."""
        super().__init__(*args, **kwargs)
        self.path_manager = WholeFilePaths(self.path_manager)

    def save(self, name: str, **kwargs: Any) -> None:
        """As Detectron2; a file of that name is replaced only by a whole one.

        Raises:
            RunError: if it cannot be written.
            RuntimeError: if a data loader's process died meanwhile, see
                :func:`scb_d2.utils.user_errors.dead_worker`.
        """
        try:
            super().save(name, **kwargs)
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter
            if dead_worker(error):
                raise
            path = os.path.join(self.save_dir, f"{name}.pth")
            cause = error if isinstance(error, OSError) else error.__context__
            reason = getattr(cause, "strerror", None) or str(error).splitlines()[0]
            raise RunError(
                f"The checkpoint {path} cannot be written ({reason}); earlier ones are untouched, "
                "so make room and go on with --resume."
            ) from error

    def _load_file(self, filename: str) -> dict[str, Any]:
        if filename.endswith(".pkl"):
            check_arrays(filename)
        elif filename.endswith(".pyth"):
            load_tensors(filename)
        return super()._load_file(filename)

    def _torch_load(self, f: str) -> dict[str, Any]:
        return load_tensors(f)


class UntaggedCheckpointer(SafeCheckpointer):
    """Saves files that are not the ones to resume from."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        pass


def find_checkpoint(output_dir: str) -> str:
    """The checkpoint to resume a run from.

    The one that ``last_checkpoint`` names, or where that is missing, empty, dangling or not whole,
    the whole one of the latest iteration.

    Args:
        output_dir: folder of the run.

    Returns:
        Its path, or "" where there is none.
    """
    if "://" in output_dir:  # what Detectron2 does on a remote storage
        stock = DetectionCheckpointer(torch.nn.Module(), output_dir)
        return stock.get_checkpoint_file() if stock.has_checkpoint() else ""
    tagged = _tagged(output_dir)
    if tagged and _iteration(tagged) is not None:
        return tagged
    others = {path: _iteration(path) for path in _run_checkpoints(output_dir) if path != tagged}
    whole = {path: iteration for path, iteration in others.items() if iteration is not None}
    found = max(whole, key=lambda path: whole[path], default="")
    if tagged:
        instead = f"resuming from {found}" if found else "there is no other"
        logger.warning("The checkpoint %s is missing or not whole: %s.", tagged, instead)
    return found


def clean_run_folder(output_dir: str) -> None:
    """Remove what a killed run left half written: files and the last line of ``metrics.json``."""
    folder = Path(output_dir)
    for pattern in ("*", "inference*/**/*"):
        for partial in folder.glob(f"{pattern}{PARTIAL_SUFFIX}"):
            partial.unlink(missing_ok=True)
    for pattern in (".inference*", "inference*/**/.*"):
        for stage in folder.glob(f"{pattern}{PARTIAL_SUFFIX}-*"):
            shutil.rmtree(stage, ignore_errors=True)
    metrics = Path(output_dir, "metrics.json")
    if metrics.is_file():
        lines = metrics.read_bytes()
        # In place: the run has opened the file already, to append to it.
        os.truncate(metrics, lines.rfind(b"\n") + 1)


def _tagged(output_dir: str) -> str:
    try:
        with open(os.path.join(output_dir, _TAG), encoding="utf-8") as file:
            name = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return os.path.join(output_dir, name) if name else ""


def _run_checkpoints(output_dir: str) -> Iterator[str]:
    if os.path.isdir(output_dir):
        for name in sorted(os.listdir(output_dir)):
            if _NAME.fullmatch(name):
                yield os.path.join(output_dir, name)


def _iteration(path: str) -> int | None:
    """The iteration of a checkpoint with all of a run's state; None where it is not whole."""
    try:
        with zipfile.ZipFile(PathManager.get_local_path(path)) as archive:
            if archive.testzip() is not None:
                return None
        held = load_tensors(path, mmap=True)
    except (OSError, zipfile.BadZipFile, ConfigError):
        return None
    return held["iteration"] if isinstance(held, dict) and set(held) >= _STATE else None
