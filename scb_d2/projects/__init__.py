"""The paper's further detectors, one subpackage per folder of `projects/` (SSD: `.ssd`).

An installed wheel holds them below this folder. A checkout keeps each beside its own README and
configs, in `projects/<Name>/<package>/`, so there the search path is extended by `projects/*/`.
"""

from pathlib import Path

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "projects").is_dir() and (_checkout / "pyproject.toml").is_file():
    __path__ += sorted(str(path) for path in (_checkout / "projects").iterdir() if path.is_dir())
