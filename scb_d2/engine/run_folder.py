"""The start of a run's folder: logs, the whole config, seeds."""

import argparse
import logging
import os
from typing import Any

import cloudpickle
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger
from detectron2.utils.registry import _convert_target_to_string
from omegaconf import DictConfig, OmegaConf, SCMode

from scb_d2.errors import ConfigError
from scb_d2.utils.files import WholeFilePaths

from .training.parts import Config, run_settings

__all__ = ["save_config", "set_up_run"]

logger = logging.getLogger(__name__)

_PATHS = WholeFilePaths(PathManager)


def set_up_run(cfg: Config, args: argparse.Namespace) -> None:
    """As Detectron2's ``default_setup``: log where and what is run, save ``config.yaml``, seed.

    Args:
        cfg: the whole config.
        args: the command line; logged, with the text of its ``config_file``.
    """
    settings, rank = run_settings(cfg), comm.get_rank()
    output_dir = settings.output_dir
    if comm.is_main_process():
        try:
            PathManager.mkdirs(output_dir)
        except OSError as error:
            raise ConfigError(
                f"the output folder {output_dir} cannot be made: {error.strerror}."
            ) from error
    for name in ("fvcore", "detectron2"):
        log = setup_logger(output_dir, distributed_rank=rank, name=name)
    log.info("Rank of current process: %d. World size: %d", rank, comm.get_world_size())
    log.info("Environment info:\n%s", collect_env_info())
    log.info("Command line arguments: %s", args)
    if args.config_file:
        with PathManager.open(args.config_file) as file:
            log.info("Contents of args.config_file=%s:\n%s", args.config_file, file.read())
    if comm.is_main_process():
        path = os.path.join(output_dir, "config.yaml")
        save_config(cfg, path)
        log.info("Full config saved to %s", path)
    seed_all_rng(None if settings.seed < 0 else settings.seed + rank)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = settings.cudnn_benchmark


def save_config(cfg: Config, path: str) -> None:
    """Write a config as YAML; an older file is replaced by a whole one only.

    A LazyConfig with objects that no YAML holds is pickled beside it, as by ``LazyConfig.save``.

    Args:
        cfg: of either kind.
        path: of the file.
    """
    if isinstance(cfg, CfgNode):
        text, is_loadable = cfg.dump(), True
    else:
        text, is_loadable = _lazy_yaml(cfg)
    with _PATHS.open(path, "w") as file:
        file.write(text)
    if not is_loadable:
        with _PATHS.open(f"{path}.pkl", "wb") as file:
            cloudpickle.dump(cfg, file)
        logger.warning("%s holds objects that cannot be loaded from it; %s.pkl can.", path, path)


def _lazy_yaml(cfg: DictConfig) -> tuple[str, bool]:
    """The text, and whether it can be loaded again."""
    content = OmegaConf.to_container(cfg, resolve=False, structured_config_mode=SCMode.INSTANTIATE)
    text = yaml.dump(
        _named_targets(content), default_flow_style=None, allow_unicode=True, width=9999
    )
    try:
        yaml.unsafe_load(text)
    except Exception:  # whatever the constructors of a user's objects raise
        return text, False
    return text, True


def _named_targets(node: Any) -> Any:
    """Plain values in which a LazyCall names its target."""
    if isinstance(node, list):
        return [_named_targets(item) for item in node]
    if not isinstance(node, dict):
        return node
    named = {key: _named_targets(value) for key, value in node.items()}
    if callable(named.get("_target_")) and hasattr(named["_target_"], "__qualname__"):
        named["_target_"] = _convert_target_to_string(named["_target_"])
    return named
