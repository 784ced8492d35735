"""Configs and models for the tests of FSSD."""

from functools import partial
from typing import Any

from scb_d2.projects.ssd import SSD
from tests.projects.builders import build_project, configs_of, project_config

CONFIGS = configs_of("FSSD")

fssd_config = partial(project_config, "FSSD")


def toy_fssd(*opts: Any) -> SSD:
    """FSSD of 160 px and 4 classes."""
    return build_project("FSSD", "fssd_toy.yaml", *opts)
