"""Values of a config by their dotted keys, in either kind of config."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf

from scb_d2.errors import ConfigError

__all__ = [
    "changed_keys",
    "keys_of",
    "lazy_calls",
    "lazy_leaves",
    "plain",
    "target_of",
    "value_of",
    "with_value",
]


def keys_of(cfg: Any, yaml: tuple[str, ...], lazy: tuple[str, ...]) -> tuple[str, ...]:
    """Those keys that this kind of config has."""
    return yaml if isinstance(cfg, CfgNode) else lazy


def value_of(cfg: Any, key: str) -> Any:
    """The value under a dotted key; None where there is none."""
    if isinstance(cfg, DictConfig):
        return OmegaConf.select(cfg, key)
    for part in key.split("."):
        if not isinstance(cfg, dict) or part not in cfg:
            return None
        cfg = cfg[part]
    return cfg


def changed_keys(cfg: CfgNode, other: CfgNode, groups: Sequence[str] = ("",)) -> list[str]:
    """Keys of a config, in these groups, whose values differ from another one's."""
    return [
        key
        for key, value in _leaves(cfg)
        if any(key == group or not group or key.startswith(f"{group}.") for group in groups)
        and value_of(other, key) != value
    ]


def with_value(cfg: Any, key: str, value: Any) -> Any:
    """A copy of a config with another value under a dotted key."""
    if isinstance(cfg, DictConfig):
        changed = copy.deepcopy(cfg)
        OmegaConf.update(changed, key, value)
        return changed
    changed = cfg.clone()
    changed.defrost()
    group, _, name = key.rpartition(".")
    (value_of(changed, group) if group else changed)[name] = value
    return changed


def _leaves(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def lazy_leaves(cfg: DictConfig, key: str) -> Iterator[tuple[str, Any]]:
    """Plain values below a key, with their own keys."""
    node = OmegaConf.select(cfg, key)
    if not isinstance(node, DictConfig):
        return
    for name in map(str, node):
        if name == "_target_" or OmegaConf.is_missing(node, name):
            continue
        value = node[name]
        if isinstance(value, DictConfig):
            yield from lazy_leaves(cfg, f"{key}.{name}")
        else:
            value = plain(value)
            if value is None or isinstance(value, (bool, int, float, str, list)):
                yield f"{key}.{name}", value


def lazy_calls(cfg: DictConfig, key: str) -> Iterator[str]:
    """Keys of the LazyCalls at and below a key, those in lists included."""
    node = OmegaConf.select(cfg, key)
    if isinstance(node, ListConfig):
        for place in range(len(node)):
            yield from lazy_calls(cfg, f"{key}[{place}]")
    elif isinstance(node, DictConfig):
        if "_target_" in node:
            yield key
        for name in map(str, node):
            if not OmegaConf.is_missing(node, name):
                yield from lazy_calls(cfg, f"{key}.{name}")


def plain(value: Any) -> Any:
    """A list in place of omegaconf's."""
    return OmegaConf.to_container(value) if isinstance(value, ListConfig) else value


def target_of(node: Any) -> Any:
    """The callable that a LazyCall names; None for another node.

    Raises:
        ConfigError: there is none of that name.
    """
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if not isinstance(target, str):
        return target
    try:
        return locate(target)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"_target_ {target!r} must be the dotted name of something that can be imported."
        ) from error
