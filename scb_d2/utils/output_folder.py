"""Write results so that nothing is ever half written."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scb_d2.errors import UserError

from .files import rename_whole, sync_file

__all__ = ["staged_directory", "to_json"]


@contextmanager
def staged_directory(output: str | Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `output` only when all went well.

    After an exception `output` is as it was. An existing `output` keeps its other files.

    Raises:
        UserError: `output` is a file, or its parent cannot be written to.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file; a folder is needed.")
    stage = output.parent / f".{output.name}.partial-{os.getpid()}"
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror}).") from error
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


def to_json(value: Any) -> str:
    """JSON text that every reader takes: numbers that are not finite become null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None
