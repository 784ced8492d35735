"""The output folder of a quick start: what it holds already, and whether that fits."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from scb_d2.engine.config.safe_yaml import load_yaml
from scb_d2.errors import ConfigError
from scb_d2.utils.nested import flat

__all__ = ["SUMMARY_FILE", "clear_run", "finished_summary", "prepare_folder"]

SUMMARY_FILE = "quickstart.json"
_OUTPUTS = (
    "config.yaml",
    "events.out.tfevents.*",
    "inference",
    "last_checkpoint",
    "log.txt",
    "matches",
    "metrics.json",
    "model_*.pth",
    "results.json",
    "*.png",
    SUMMARY_FILE,
)
# May differ between a run and its continuation.
_MACHINE_KEYS = ("MODEL.DEVICE", "SOLVER.AMP.ENABLED", "DATALOADER.NUM_WORKERS", "OUTPUT_DIR")


def prepare_folder(cfg: CfgNode, restart: bool) -> None:
    """Check that ``OUTPUT_DIR`` is free, holds the same run, or is to be cleared.

    Args:
        cfg: config of the run that is about to start.
        restart: whether to remove what an earlier run wrote.

    Raises:
        ConfigError: if it is a file, or holds a run with other settings.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder} is a file; it must be a folder.")
    config = folder / "config.yaml"
    if not config.is_file():
        return
    if restart:
        clear_run(folder)
        return
    try:
        old = flat(load_yaml(config.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError):
        old = {}
    new = flat(load_yaml(cfg.dump()))
    for key in sorted(new.keys() | old.keys()):
        if key not in _MACHINE_KEYS and old.get(key) != new.get(key):
            raise ConfigError(
                f"{folder} holds a run with other settings ({key} is {old.get(key)!r} there, "
                f"{new.get(key)!r} now): choose another --output, or start over with --restart."
            )


def clear_run(folder: Path) -> None:
    """Remove what a run wrote into its folder, and nothing else."""
    for pattern in _OUTPUTS:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def finished_summary(folder: Path) -> dict[str, Any] | None:
    """What a finished quick start noted down, or None where it is not finished."""
    path = folder / SUMMARY_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
