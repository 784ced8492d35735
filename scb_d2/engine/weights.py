"""Weights for inference: every parameter of the model must come from the file."""

import os
from typing import Any

import torch
from torch import nn

from scb_d2.errors import ConfigError, UserError

from .checkpoint import SafeCheckpointer

__all__ = ["load_weights", "missing_weights", "read_weights"]

_SHOWN = 3


class _CompleteCheckpointer(SafeCheckpointer):
    """Refuses weights that leave a parameter as it was; Detectron2's warns."""

    def __init__(self, model: nn.Module, path: str) -> None:
        super().__init__(model)
        self.path = path

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        if incompatible.incorrect_shapes:
            name, found, needed = incompatible.incorrect_shapes[0]
            raise ConfigError(
                f"the weights {self.path} do not fit the model of the config: "
                f"{len(incompatible.incorrect_shapes)} parameters have another shape, {name} for "
                f"example {tuple(found)} instead of {tuple(needed)}."
            )
        if incompatible.missing_keys:
            missing = sorted(incompatible.missing_keys)
            raise ConfigError(
                f"the weights {self.path} do not fit the model of the config: they lack "
                f"{len(missing)} of its parameters, for example {', '.join(missing[:_SHOWN])}."
            )
        super()._log_incompatible_keys(incompatible)


def load_weights(model: nn.Module, path: str) -> None:
    """Load weights for inference, in place.

    Args:
        model: built from the config.
        path: a checkpoint, or an address that Detectron2 knows (``detectron2://...``).

    Raises:
        ConfigError: if the file is missing, is no checkpoint, or does not hold every parameter in
            the model's shape.
    """
    read_weights(_CompleteCheckpointer(model, path), path)


def missing_weights(path: str) -> str:
    """What is said of weights that are no file."""
    if not os.path.isdir(path):
        return f"the weights {path} do not exist."
    return f"the weights {path} are a folder; name a checkpoint in it, such as model_final.pth."


def read_weights(checkpointer: SafeCheckpointer, path: str) -> None:
    """Load weights into a checkpointer's model, and nothing else that the file holds.

    Args:
        checkpointer: of the model.
        path: as in :func:`load_weights`; "" loads nothing.

    Raises:
        ConfigError: if the file is missing or no checkpoint, or the checkpointer refuses it.
    """
    if path and "://" not in path and not os.path.isfile(path.partition("?")[0]):
        raise ConfigError(missing_weights(path))
    try:
        checkpointer.load(path, checkpointables=[])
    except UserError:
        raise
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a foreign file fails in as many ways as there are formats
        lines = str(error).split("\n")
        raise ConfigError(
            f"the weights {path} cannot be read as a checkpoint ({type(error).__name__}: "
            f"{lines[0].rstrip('.')})."
        ) from error
