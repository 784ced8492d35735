"""Configs and models for the tests of DSSD."""

from functools import partial
from typing import Any

from scb_d2.projects.dssd import DSSD
from tests.projects.builders import build_project, configs_of, project_config

CONFIGS = configs_of("DSSD")

dssd_config = partial(project_config, "DSSD")


def toy_dssd(*opts: Any, config: str = "dssd_toy.yaml") -> DSSD:
    """DSSD of 161 px and 4 classes."""
    return build_project("DSSD", config, *opts)


NARROW = (
    "MODEL.DSSD.WIDTH", 0.02,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
)  # fmt: skip
"""Fewer channels still."""
