"""What a plan needs of a YAML config and of a LazyConfig: overrides, settings, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf, SCMode

from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import merge_config
from scb_d2.utils.hydra_text import hydra_text
from scb_d2.utils.nested import flat, value_at

__all__ = ["ConfigKind", "kind_of"]


@dataclass(frozen=True)
class ConfigKind:
    """A kind of config.

    Attributes:
        seed: key of the seed.
        output_dir: key of the run's folder.
        measured: overrides that `scb-d2 compare` needs; a plan may still switch them off.
        facts: keys of the facts that a summary tells, by their names there.
        text: a plan's value as a command line takes it.
        arguments: overrides as they stand behind the flags of `train_net.py`.
        merged: file and such arguments to what differs from the kind's defaults, by dotted key.
    """

    seed: str
    output_dir: str
    measured: Mapping[str, Any]
    facts: Mapping[str, str]
    text: Callable[[Any], str]
    arguments: Callable[[Mapping[str, str]], list[str]]
    merged: Callable[[str, list[str]], dict[str, Any]]

    def facts_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The facts of a run's `config.yaml`, None where it does not tell; names as lists."""
        found = {name: value_at(config, key) for name, key in self.facts.items()}
        for name in ("train", "test"):
            found[name] = [found[name]] if isinstance(found[name], str) else found[name]
        return found


def kind_of(config: Path) -> ConfigKind:
    """The kind of a config file, by its suffix."""
    return _LAZY if config.suffix == ".py" else _YAML


def _yaml_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _key_value_pairs(overrides: Mapping[str, str]) -> list[str]:
    return [text for item in overrides.items() for text in item]


def _key_equals_value(overrides: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in overrides.items()]


def _merged_yaml(path: str, arguments: list[str]) -> dict[str, Any]:
    merged, defaults = merge_config(path, arguments), merge_config(None, [])
    config, known = (flat(yaml.safe_load(cfg.dump())) for cfg in (merged, defaults))
    return {key: value for key, value in config.items() if known.get(key) != value}


def _merged_lazy(path: str, arguments: list[str]) -> dict[str, Any]:
    cfg = load_lazy_config(path, arguments)
    content = OmegaConf.to_container(cfg, resolve=False, structured_config_mode=SCMode.INSTANTIATE)
    return flat(_plain(content))


def _plain(node: Any) -> Any:
    """Values that are equal in every process: functions and objects by their names."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if hasattr(node, "__qualname__"):
        return f"{node.__module__}.{node.__qualname__}"
    spelt = repr(node)
    return type(node).__qualname__ if " at 0x" in spelt else spelt


_YAML = ConfigKind(
    seed="SEED",
    output_dir="OUTPUT_DIR",
    measured={"TEST.RECALL.ENABLED": True},  # VOC's evaluator alone writes no results
    facts={
        "meta_architecture": "MODEL.META_ARCHITECTURE",
        "train": "DATASETS.TRAIN",
        "test": "DATASETS.TEST",
        "iterations": "SOLVER.MAX_ITER",
        "images_per_batch": "SOLVER.IMS_PER_BATCH",
        "base_lr": "SOLVER.BASE_LR",
    },
    text=_yaml_text,
    arguments=_key_value_pairs,
    merged=_merged_yaml,
)
_LAZY = ConfigKind(
    seed="train.seed",
    output_dir="train.output_dir",
    measured={},
    facts={
        "meta_architecture": "model._target_",
        "train": "dataloader.train.dataset.names",
        "test": "dataloader.test.dataset.names",
        "iterations": "train.max_iter",
        "images_per_batch": "dataloader.train.total_batch_size",
        "base_lr": "optimizer.lr",
    },
    text=hydra_text,
    arguments=_key_equals_value,
    merged=_merged_lazy,
)
