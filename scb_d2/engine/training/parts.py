"""The parts of a run, which every kind of config gives: the trainer knows no other."""

from types import ModuleType
from typing import TypeAlias

from detectron2.config import CfgNode
from omegaconf import DictConfig

from . import parts_from_lazy, parts_from_yaml
from .settings import RunSettings

__all__ = ["Config", "parts_of", "run_settings"]

Config: TypeAlias = CfgNode | DictConfig


def parts_of(cfg: Config) -> ModuleType:
    """The functions that make a run's parts from this kind of config."""
    return parts_from_yaml if isinstance(cfg, CfgNode) else parts_from_lazy


def run_settings(cfg: Config) -> RunSettings:
    """The plain settings of a config."""
    return parts_of(cfg).run_settings(cfg)
