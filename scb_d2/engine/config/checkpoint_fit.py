"""Whether a checkpoint fits the model and optimizer of a config."""

import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from scb_d2.engine.checkpoint import SafeCheckpointer, find_checkpoint
from scb_d2.engine.training.parts import Config, run_settings
from scb_d2.engine.weights import load_weights, read_weights
from scb_d2.errors import ConfigError, UserError
from scb_d2.utils.tensors import load_tensors

from .keys import changed_keys, value_of
from .safe_yaml import load_yaml

__all__ = ["check_resume", "check_same_start", "check_start", "check_weights_fit"]

_SHOWN = 3


def check_resume(cfg: Config, model: nn.Module, optimizer: Optimizer | None) -> None:
    """Check that the run's last checkpoint is of this model, and of this optimizer.

    Args:
        cfg: the whole config.
        model: built from it.
        optimizer: of its parameters; None: the run does not train.

    Raises:
        ConfigError: naming the checkpoint, what differs and the keys that have changed.
    """
    folder = run_settings(cfg).output_dir
    path = find_checkpoint(folder)
    if not path:
        return
    held = load_tensors(path, mmap=True)
    difference = _difference(model, held["model"])
    if difference is None and optimizer is not None:
        state = held["trainer"].get("_trainer", {}).get("optimizer")
        try:
            if state is not None:
                optimizer.load_state_dict(state)
        except ValueError as error:
            difference = f"its optimizer is another one ({error})"
    if difference is not None:
        raise ConfigError(
            f"--resume: the checkpoint {path} does not fit the config: {difference}"
            f"{_changes(cfg, folder)}."
        )


def check_weights_fit(cfg: Config, model: nn.Module) -> None:
    """Check that the weights to be evaluated are those of this model.

    Args:
        cfg: the whole config.
        model: built from it; gets the weights.

    Raises:
        ConfigError: naming the file, a parameter and its shapes.
    """
    weights = run_settings(cfg).weights
    if not weights:
        return
    try:
        load_weights(model, weights)
    except UserError as error:
        changes = _changes(cfg, os.path.dirname(weights))
        raise ConfigError(f"--eval-only: {str(error).rstrip('.')}{changes}.") from error


def check_start(cfg: Config, model: nn.Module) -> None:
    """Check that the weights to start from can be read, which fetches those of an address.

    Parameters that they lack, or have in another shape, start afresh, as in Detectron2.

    Args:
        cfg: the whole config.
        model: built from it; gets the weights.

    Raises:
        ConfigError: naming the key and the file.
    """
    weights = run_settings(cfg).weights
    key = "MODEL.WEIGHTS" if isinstance(cfg, CfgNode) else "train.init_checkpoint"
    try:
        read_weights(SafeCheckpointer(model), weights)
    except UserError as error:
        raise ConfigError(f"{key}: {error}") from error


def check_same_start(folder: str, resume: bool) -> None:
    """Check on every rank that all go on from the same checkpoint, before anything is written.

    Args:
        folder: of the run.
        resume: whether it is to go on.

    Raises:
        ConfigError: the ranks see other checkpoints.
    """
    own = os.path.basename(find_checkpoint(folder)) if resume else ""
    found = comm.all_gather(own)
    for rank, name in enumerate(found):
        if name != found[0]:
            first, other = (name or "no checkpoint" for name in (found[0], name))
            raise ConfigError(
                f"--resume: rank 0 would go on from {first} and rank {rank} from {other}: the "
                f"output folder {folder} must be on a disk that all machines share."
            )


def _difference(model: nn.Module, state: dict[str, Any]) -> str | None:
    """The first parameter that is not as in the checkpoint."""
    needed = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    for name in (*needed, *given):
        if needed.get(name) != given.get(name):
            found = f"of the shape {given[name]}" if name in given else "absent"
            wanted = f"of the shape {needed[name]}" if name in needed else "absent"
            return f"{name} is {found} in it and {wanted} in the model"
    return None


def _changes(cfg: Config, folder: str) -> str:
    """Keys of the model that have changed since the folder's run."""
    path = os.path.join(folder, "config.yaml")
    if not isinstance(cfg, CfgNode) or not os.path.isfile(path):
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            before = CfgNode(load_yaml(file))
    except Exception:  # some other file of that name
        return ""
    changed = [
        f"{key} was {value_of(before, key)!r} and is {value_of(cfg, key)!r}"
        for key in changed_keys(cfg, before, ("MODEL", "SOLVER"))
        if key not in ("MODEL.WEIGHTS", "MODEL.DEVICE")
        and _plain(value_of(before, key)) != _plain(value_of(cfg, key))
    ]
    return f"; {', '.join(changed[:_SHOWN])}" if changed else ""


def _plain(value: Any) -> Any:
    """Tuples as the lists that YAML has."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return OmegaConf.to_container(value) if isinstance(value, DictConfig) else value
