"""Which implementation of COCO's evaluation runs: pycocotools, or faster-coco-eval where installed.

Detectron2 brings a fast one of its own only where its C++ extension is built.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from pycocotools.cocoeval import COCOeval

from scb_d2.errors import ConfigError

__all__ = ["COCO_BACKENDS", "coco_eval_class"]

COCO_BACKENDS = ("auto", "pycocotools", "faster_coco_eval")


def coco_eval_class(backend: str) -> type[Any]:
    """The class that evaluates, with the interface of pycocotools' `COCOeval`.

    Args:
        backend: `TEST.COCO_BACKEND`: `pycocotools`, `faster_coco_eval`, or `auto` for the latter
            where it is installed. Both give the same numbers.

    Raises:
        ConfigError: the name is unknown, or the package is not installed.
    """
    if backend not in COCO_BACKENDS:
        raise ConfigError(
            f"TEST.COCO_BACKEND: must be one of {', '.join(COCO_BACKENDS)}, not {backend!r}."
        )
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if backend == "pycocotools" or (backend == "auto" and not installed):
        return COCOeval
    if not installed:
        raise ConfigError(
            "TEST.COCO_BACKEND: 'faster_coco_eval' needs the package faster-coco-eval "
            "(pip install 'scb_d2[fast-eval]')."
        )
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    return COCOeval_faster
