"""Detectron2's functions with other parts, where they have no hook for them."""

import types
from collections.abc import Callable
from typing import Any

from detectron2.config import LazyConfig
from detectron2.engine import default_setup
from detectron2.utils.file_io import PathManager

from scb_d2.utils.files import WholeFilePaths

__all__ = ["WHOLE_FILES", "WholeFiles", "save_lazy_config", "set_up_run", "with_parts"]

WHOLE_FILES = WholeFilePaths(PathManager)
"""Detectron2's path manager, which writes local files whole."""


def with_parts(function: Callable[..., Any], **parts: Any) -> Callable[..., Any]:
    """A function or bound method that finds other objects under some names of its module.

    It is given a copy of that module's namespace, so nothing outside changes. For example,
    ``DefaultTrainer.__init__`` looks ``create_ddp_model``, ``SimpleTrainer`` and others up there.

    Args:
        function: a Python function, or a bound method.
        **parts: name in its module to what is used instead.
    """
    stock = getattr(function, "__func__", function)
    ours = types.FunctionType(
        stock.__code__,
        {**stock.__globals__, **parts},
        stock.__name__,
        stock.__defaults__,
        stock.__closure__,
    )
    ours.__kwdefaults__ = stock.__kwdefaults__
    return types.MethodType(ours, function.__self__) if stock is not function else ours


class WholeFiles:
    """Mixin before a class of Detectron2's evaluators, whose files are then written whole."""

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        return with_parts(super().evaluate, PathManager=WHOLE_FILES)(*args, **kwargs)

    def _eval_predictions(self, *args: Any, **kwargs: Any) -> Any:
        return with_parts(super()._eval_predictions, PathManager=WHOLE_FILES)(*args, **kwargs)

    def _eval_box_proposals(self, *args: Any, **kwargs: Any) -> Any:
        return with_parts(super()._eval_box_proposals, PathManager=WHOLE_FILES)(*args, **kwargs)


def save_lazy_config(cfg: Any, path: str) -> None:
    """``LazyConfig.save``, which replaces an older file by a whole one only."""
    with_parts(LazyConfig.save, PathManager=WHOLE_FILES)(cfg, path)


def set_up_run(cfg: Any, args: Any) -> None:
    """Detectron2's ``default_setup``; the same of ``config.yaml``."""
    lazy = types.SimpleNamespace(save=save_lazy_config)
    with_parts(default_setup, PathManager=WHOLE_FILES, LazyConfig=lazy)(cfg, args)
