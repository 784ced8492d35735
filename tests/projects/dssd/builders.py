"""Configs and models for the tests of DSSD."""

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from scb_d2 import build_model
from scb_d2.engine.setup import load_config
from scb_d2.projects.dssd import DSSD

CONFIGS = Path(__file__).resolve().parents[3] / "projects" / "DSSD" / "configs"


def dssd_config(name: str, *opts: Any, device: str = "cpu") -> CfgNode:
    """A config of projects/DSSD/configs, without downloads."""
    return load_config(str(CONFIGS / name), ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", *opts])


def toy_dssd(*opts: Any, config: str = "dssd_toy.yaml") -> DSSD:
    """DSSD of 161 px and 4 classes."""
    return build_model(dssd_config(config, *opts))


NARROW = (
    "MODEL.DSSD.WIDTH", 0.02,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
)  # fmt: skip
"""Fewer channels still."""
