"""LazyConfig files: loading, defaults and the checks that a YAML config gets too."""

import difflib
import inspect
import os
from typing import Any

from detectron2.config import LazyConfig
from detectron2.data import DatasetMapper
from detectron2.evaluation import COCOEvaluator
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scb_d2.data.mapper import CheckedDatasetMapper
from scb_d2.engine.device import available_amp, available_device
from scb_d2.errors import ConfigError
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from scb_d2.utils.nested import flat

from .keys import target_of
from .lazy_data import register_lazy_datasets
from .lazy_file import run_lazy_file
from .load import find_config_file

__all__ = [
    "load_lazy_config",
    "use_available_lazy_device",
]

TRAIN_DEFAULTS: dict[str, Any] = {
    "output_dir": "./output",
    "init_checkpoint": "",
    "max_iter": 90000,
    "amp": {"enabled": False},
    "ddp": {"broadcast_buffers": False, "find_unused_parameters": False, "fp16_compression": False},
    "checkpointer": {"period": 5000, "max_to_keep": 100},
    "eval_period": 5000,
    "log_period": 20,
    "device": "cuda",
    "seed": -1,
    "cudnn_benchmark": False,
    "best_metric": "",
    "best_mode": "max",
    "patience": 0,
    "tiles": {"size": 0},
}
"""What ``train`` may hold: Detectron2's own keys and values, and best_metric, best_mode, patience
and tiles, which are ``TEST.BEST_METRIC``, ``TEST.BEST_MODE``, ``TEST.PATIENCE`` and ``TEST.TILES``
of YAML configs."""

_REQUIRED = ("model", "optimizer", "lr_multiplier", "dataloader.train")


def load_lazy_config(config_file: str, opts: list[str] | None = None) -> DictConfig:
    """Run a LazyConfig ``.py`` file, apply overrides and fill in the defaults of ``train``.

    The embedded blood cells are registered, as they are for YAML configs; shapes, which have
    settings, by a call in the file.

    Args:
        config_file: a path, or a name from Detectron2's model zoo. The file is code and is run.
        opts: overrides ``key=value`` in hydra's grammar.

    Raises:
        ConfigError: if the file is missing, no Python or raises, an override is malformed or names
            nothing, or the config lacks a part or holds one that the trainer does not know.
    """
    path = find_config_file(config_file)
    cfg = run_lazy_file(path)
    try:
        _complete(cfg, path, opts or [])
        register_lazy_datasets(cfg)
    except OmegaConfBaseException as error:  # such as ${...} of what is not there
        raise ConfigError(f"{path}: {_first_line(error)}.") from None
    return cfg


def _complete(cfg: DictConfig, path: str, opts: list[str]) -> None:
    """Apply the overrides and fill in defaults, in place."""
    train = cfg.get("train", {})
    _check_train_keys(train)
    cfg.train = OmegaConf.merge(TRAIN_DEFAULTS, train)
    _use_our_classes(cfg)  # whose arguments may be overridden
    _apply_overrides(cfg, opts)
    _share_pixel_range(cfg)
    _check_train_keys(cfg.train)
    _check_train_values(cfg.train)
    for key in _REQUIRED:
        part = OmegaConf.select(cfg, key)
        if part is None:
            raise ConfigError(f"{path} does not define {key}, which train_net.py needs.")
        if isinstance(part, (bool, int, float, str)):
            raise ConfigError(f"{key} must be what LazyCall makes; got {part!r}.")
    OmegaConf.to_container(cfg, resolve=True)  # raises where ${...} is of what is not there


def use_available_lazy_device(cfg: DictConfig) -> None:
    """Set ``train.device`` and ``train.amp.enabled`` to what this machine can do, in place."""
    train = cfg.train
    train.device = available_device(train.device, "train.device")
    train.amp.enabled = available_amp(train.amp.enabled, train.device, "train.amp.enabled")


def _apply_overrides(cfg: DictConfig, opts: list[str]) -> None:
    for opt in opts:
        if opt.startswith("--"):
            raise ConfigError(f"{opt} must come before the overrides.")
        key, equals, _ = opt.partition("=")
        if not equals:
            raise ConfigError(f"overrides of a .py config are key=value; got {opt!r}.")
        _check_override_key(cfg, key.lstrip("+"))
        try:
            LazyConfig.apply_overrides(cfg, [opt])
        except (KeyError, NotImplementedError, OmegaConfBaseException, HydraException) as error:
            raise ConfigError(f"cannot apply the override {opt!r}: {_first_line(error)}") from None


def _check_override_key(cfg: DictConfig, key: str) -> None:
    """Refuse keys that nothing reads; those of a LazyCall may be any argument of its target."""
    group, _, name = key.rpartition(".")
    parent = OmegaConf.select(cfg, group, throw_on_missing=False) if group else cfg
    if isinstance(parent, DictConfig):
        arguments = _arguments(parent)
        if arguments is None:
            return
        allowed = [*map(str, parent), *arguments]
        if name in allowed:
            return
        near = difflib.get_close_matches(name, allowed, n=1)
    elif isinstance(parent, ListConfig) and name.isdigit() and int(name) < len(parent):
        return
    else:
        near = []
    prefix = f"{group}." if group else ""
    hint = f"; did you mean {prefix}{near[0]}?" if near else "."
    raise ConfigError(f"{key} is not a key of the config{hint}")


def _check_train_keys(train: Any) -> None:
    if not isinstance(train, (dict, DictConfig)):
        raise ConfigError(f"train must hold keys and values; got {train!r}.")
    for key in train:
        if key not in TRAIN_DEFAULTS:
            raise ConfigError(
                f"train.{key} is not supported by train_net.py, which knows "
                f"{', '.join(TRAIN_DEFAULTS)}."
            )


def _check_train_values(train: DictConfig) -> None:
    """Refuse values of other types than the defaults', as YAML configs do."""
    for key, default in flat(TRAIN_DEFAULTS).items():
        value = OmegaConf.select(train, key)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
            OmegaConf.update(train, key, value)
        elif value is None and key == "init_checkpoint":  # as some of Detectron2's own configs
            value = default
            OmegaConf.update(train, key, value)
        if type(value) is not type(default):
            raise ConfigError(
                f"train.{key} must be of type {type(default).__name__}; got {value} "
                f"({type(value).__name__})."
            )


def _use_our_classes(cfg: DictConfig) -> None:
    """Mapper and evaluator with clear errors and AP 0 in place of Detectron2's own."""
    _replace_target(cfg, "dataloader.train.mapper", DatasetMapper, CheckedDatasetMapper)
    _replace_target(cfg, "dataloader.test.mapper", DatasetMapper, CheckedDatasetMapper)
    evaluators = OmegaConf.select(cfg, "dataloader.evaluator")
    places = range(len(evaluators)) if isinstance(evaluators, ListConfig) else ()
    for key in ("dataloader.evaluator", *(f"dataloader.evaluator[{n}]" for n in places)):
        _use_our_evaluator(cfg, key)


def _share_pixel_range(cfg: DictConfig) -> None:
    """Let images be tested as they are trained, as Detectron2's configs do for their format."""
    train, test = (OmegaConf.select(cfg, f"dataloader.{part}.mapper") for part in ("train", "test"))
    takes = "pixel_range" in (_arguments(test) or ()) if isinstance(test, DictConfig) else False
    if takes and isinstance(train, DictConfig) and train.get("pixel_range"):
        test.setdefault("pixel_range", "${...train.mapper.pixel_range}")


def _use_our_evaluator(cfg: DictConfig, key: str) -> None:
    _replace_target(cfg, key, COCOEvaluator, SafeCOCOEvaluator)
    evaluator = OmegaConf.select(cfg, key)
    if target_of(evaluator) is SafeCOCOEvaluator and evaluator.get("output_dir") is None:
        evaluator.output_dir = "${train.output_dir}/inference"


def _replace_target(cfg: DictConfig, key: str, stock: type, ours: type) -> None:
    node = OmegaConf.select(cfg, key)
    if target_of(node) is stock:
        node._target_ = ours


def _arguments(node: DictConfig) -> list[str] | None:
    """Names of the arguments that a LazyCall's target takes; none for a plain group of keys.

    None where Python cannot tell.
    """
    target = target_of(node)
    if target is None:
        return []
    # A class passes what it does not name on to the next one.
    makers = [c.__init__ for c in target.__mro__] if inspect.isclass(target) else [target]
    names: list[str] = []
    try:
        for maker in makers:
            parameters = inspect.signature(maker).parameters.values()
            names += [p.name for p in parameters]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    except (TypeError, ValueError):
        return None
    return names


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
