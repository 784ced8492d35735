"""Scale-balanced loss for object detection (Shuang et al. 2021) as a drop-in for Detectron2.

The public names stand in :mod:`scb_d2.api` and are loaded when the first of them is used, so that
the command lines' ``--help`` waits for neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *  # noqa: F403

if importlib.util.find_spec("detectron2") is None:
    raise ModuleNotFoundError(
        "scb_d2 needs Detectron2, which is not on the Python package index under its name: run "
        "`make env` in the project's folder, or build it from its repository (docs/install.md).",
        name="detectron2",
    )

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    api = importlib.import_module(".api", __name__)
    if name == "__all__" or name in api.__all__:
        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *importlib.import_module(".api", __name__).__all__})
