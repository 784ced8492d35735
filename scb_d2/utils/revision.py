"""Which code a result was made with."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["revision"]


@cache
def revision(but: Path | None = None) -> str:
    """The commit of this checkout, with `+changes` where tracked files differ from it.

    Outside a checkout of the project (an installed wheel) the version: `scb_d2 0.1.0`.

    Args:
        but: a folder whose files may differ, that of results that are written.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit is not None:
            status = ["status", "--porcelain", "--untracked-files=no"]
            if but is not None and but.resolve().is_relative_to(root):
                status += ["--", ".", f":!{but.resolve().relative_to(root).as_posix()}"]
            changed = _git(root, *status)
            return commit if changed == "" else f"{commit}+changes"
    try:
        return f"scb_d2 {version('scb_d2')}"
    except PackageNotFoundError:
        return "unknown"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
