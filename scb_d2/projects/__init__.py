"""The paper's further detectors, one subpackage per folder of `projects/` (SSD: `.ssd`).

An installed wheel holds them below this folder. A checkout keeps each beside its own README and
configs, in `projects/<Name>/<package>/`, so there the search path is extended by `projects/*/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from detectron2.config import CfgNode

__all__ = ["add_project_configs", "add_scb_config", "get_cfg", "import_projects"]

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "projects").is_dir() and (_checkout / "pyproject.toml").is_file():
    __path__ += sorted(str(path) for path in (_checkout / "projects").iterdir() if path.is_dir())


def import_projects() -> dict[str, ModuleType]:
    """Import every detector that is present, which registers it with Detectron2; by name."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if module.ispkg
    }


def add_project_configs(cfg: CfgNode) -> None:
    """Import every detector that is present and add its keys to a config.

    The package ``<name>`` adds its keys by its function ``add_<name>_config(cfg)``.

    Args:
        cfg: a config, changed in place.
    """
    for name, package in import_projects().items():
        getattr(package, f"add_{name}_config")(cfg)


def get_cfg() -> CfgNode:
    """Detectron2's default config with every key of the project, its detectors' too.

    Values of ``MODEL.SCB`` are checked as they are merged, see :func:`scb_d2.config.get_cfg`.
    """
    from scb_d2 import config

    cfg = config.get_cfg()
    add_project_configs(cfg)
    return cfg


def add_scb_config(cfg: CfgNode) -> None:
    """Add every key of the project to a Detectron2 config, in place; then any run's config loads.

    Args:
        cfg: what ``detectron2.config.get_cfg()`` returns, or a clone of it; adding the keys twice
            changes nothing.
    """
    from scb_d2 import config

    config.add_scb_config(cfg)
    add_project_configs(cfg)
