"""Which implementation of COCO's evaluation runs: pycocotools, or hotcoco where it is installed.

Detectron2 brings a fast one of its own only where its C++ extension is built.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from pycocotools.cocoeval import COCOeval

from scb_d2.errors import ConfigError

__all__ = ["COCO_BACKENDS", "coco_eval_class"]

COCO_BACKENDS = ("auto", "pycocotools", "hotcoco")


def coco_eval_class(backend: str) -> type[Any]:
    """The class that evaluates boxes, masks and keypoints, with the interface of pycocotools.

    Args:
        backend: `TEST.COCO_BACKEND`: `pycocotools`, `hotcoco`, or `auto` for the latter where it is
            installed. Both give the same numbers.

    Raises:
        ConfigError: the name is unknown, or the package is not installed.
    """
    if backend not in COCO_BACKENDS:
        raise ConfigError(
            f"TEST.COCO_BACKEND: must be one of {', '.join(COCO_BACKENDS)}, not {backend!r}."
        )
    installed = importlib.util.find_spec("hotcoco") is not None
    if backend == "pycocotools" or (backend == "auto" and not installed):
        return COCOeval
    if not installed:
        raise ConfigError(
            "TEST.COCO_BACKEND: 'hotcoco' needs the package hotcoco "
            "(pip install 'scb_d2[fast-eval]')."
        )
    from .hotcoco_eval import HotCOCOeval

    return HotCOCOeval
