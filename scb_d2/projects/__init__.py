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
    from detectron2.config import CfgNode

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "projects").is_dir() and (_checkout / "pyproject.toml").is_file():
    __path__ += sorted(str(path) for path in (_checkout / "projects").iterdir() if path.is_dir())


def add_project_configs(cfg: CfgNode) -> None:
    """Import every detector that is present, which registers it, and add its keys to a config.

    The package ``<name>`` adds its keys by its function ``add_<name>_config(cfg)``.

    Args:
        cfg: a config, changed in place.
    """
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            package = importlib.import_module(f"{__name__}.{module.name}")
            getattr(package, f"add_{module.name}_config")(cfg)
