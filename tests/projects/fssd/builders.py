"""Configs and models for the tests of FSSD."""

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from scb_d2 import build_model
from scb_d2.engine.setup import load_config
from scb_d2.projects.ssd import SSD

CONFIGS = Path(__file__).resolve().parents[3] / "projects" / "FSSD" / "configs"


def fssd_config(name: str, *opts: Any, device: str = "cpu") -> CfgNode:
    """A config of projects/FSSD/configs, without downloads."""
    return load_config(str(CONFIGS / name), ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", *opts])


def toy_fssd(*opts: Any) -> SSD:
    """FSSD of 160 px and 4 classes."""
    return build_model(fssd_config("fssd_toy.yaml", *opts))
