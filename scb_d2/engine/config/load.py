"""From a config file and overrides to a checked config."""

import os
from collections.abc import Sequence
from typing import Any

import detectron2
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from scb_d2.config import validate_config
from scb_d2.data.registration import register_datasets
from scb_d2.engine.device import use_available_device
from scb_d2.errors import ConfigError
from scb_d2.projects import get_cfg

from .keys import changed_keys, value_of
from .safe_yaml import is_lazy_dump
from .yaml_errors import read_yaml, readable_merge_errors

__all__ = ["find_config_file", "load_config", "merge_config"]


def load_config(config_file: str, opts: Sequence[str] | None = None) -> CfgNode:
    """Load a YAML config as every command of the project does.

    Adds the project's keys, merges the file and the overrides, checks the values, registers the
    data sets that the config describes, and falls back to the CPU where there is no GPU. Nothing
    is written.

    Args:
        config_file: a path, or a name from Detectron2's model zoo such as
            ``COCO-Detection/retinanet_R_50_FPN_1x.yaml``.
        opts: ``[KEY, VALUE, ...]`` overrides, values as text or Python objects. Beyond yacs, an
            integer is accepted for a float and a bare string for a tuple.

    Returns:
        The frozen config.

    Raises:
        UserError: one sentence that names the file or key.
    """
    cfg = merge_config(find_config_file(config_file), list(opts or ()))
    register_datasets(cfg)
    use_available_device(cfg)
    cfg.freeze()
    return cfg


def merge_config(path: str | None, opts: Sequence[Any]) -> CfgNode:
    """The config that a file and overrides describe, checked but with no effect yet.

    Args:
        path: an existing YAML file, its `_BASE_` files included; None: the defaults.
        opts: as in :func:`load_config`.

    Raises:
        UserError: one sentence that names the file or key.
    """
    cfg = get_cfg()
    if path is not None:
        if is_lazy_dump(path):
            raise ConfigError(
                f"{path} is the saved copy of a LazyConfig; give the .py file that the run was "
                "trained from."
            )
        _merge_file(cfg, path)
    _merge_overrides(cfg, list(opts))
    _check_given(cfg)
    validate_config(cfg)
    return cfg


def find_config_file(config_file: str) -> str:
    """The path of a config file, which may be a name from Detectron2's model zoo.

    Raises:
        ConfigError: if there is no such file.
    """
    if not config_file:
        raise ConfigError("no config file is given; use --config-file FILE.")
    if PathManager.isfile(config_file):
        return config_file
    zoo = os.path.join(os.path.dirname(detectron2.__file__), "model_zoo", "configs")
    in_zoo = os.path.join(zoo, config_file)
    if os.path.isfile(in_zoo):
        return in_zoo
    raise ConfigError(
        f"the config file {config_file} does not exist, neither as a path nor as a name in "
        "Detectron2's model zoo."
    )


def _merge_file(cfg: CfgNode, path: str) -> None:
    loaded = read_yaml(path)
    with readable_merge_errors(cfg, path):
        if loaded.get("VERSION", cfg.VERSION) != cfg.VERSION:
            # Detectron2 converts the keys of old versions.
            cfg.merge_from_file(path, allow_unsafe=False)
        else:
            cfg.merge_from_other_cfg(CfgNode(_fitting(loaded, cfg)))


def _merge_overrides(cfg: CfgNode, opts: list[Any]) -> None:
    flags = [opt for opt in opts[::2] if isinstance(opt, str) and opt.startswith("--")]
    if flags:
        raise ConfigError(f"{flags[0]} must come before the KEY VALUE overrides.")
    if len(opts) % 2:
        raise ConfigError(f"overrides are pairs KEY VALUE; {opts[-1]} has no value.")
    with readable_merge_errors(cfg, "command line"):
        for key, value in zip(opts[::2], opts[1::2], strict=True):
            cfg.merge_from_list([key, _fitting_value(value, _current(cfg, str(key)))])


def _check_given(cfg: CfgNode) -> None:
    """Refuse null, which yacs takes for a value of any type."""
    default = get_cfg()
    for key in changed_keys(cfg, default):
        usual = value_of(default, key)
        if value_of(cfg, key) is None and usual is not None:
            raise ConfigError(
                f"{key} must be of type {type(usual).__name__}; got null, which stands for nothing."
            )


def _current(cfg: CfgNode, key: str) -> Any:
    value: Any = cfg
    for part in key.split("."):
        if not isinstance(value, CfgNode):
            return None
        value = value.get(part)
    return value


def _fitting(loaded: dict[str, Any], cfg: CfgNode) -> dict[str, Any]:
    fitted = {}
    for key, value in loaded.items():
        current = cfg.get(key) if isinstance(key, str) else None
        if isinstance(value, dict) and isinstance(current, CfgNode):
            fitted[key] = _fitting(value, current)
        else:
            fitted[key] = _fitting_value(value, current)
    return fitted


def _fitting_value(value: Any, current: Any) -> Any:
    """An integer as a float and a bare string as a tuple of one, where the key asks for that."""
    decoded = CfgNode._decode_cfg_value(value)
    if isinstance(current, float) and type(decoded) is int:
        return float(decoded)
    if isinstance(current, tuple) and isinstance(decoded, str) and decoded:
        return (decoded,)
    return value
