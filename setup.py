"""Package discovery; everything else stands in pyproject.toml.

`projects/<Name>/<package>/` is installed as `scb_d2.projects.<package>`.
"""

from pathlib import Path

from setuptools import find_packages, setup

packages = find_packages(include=["scb_d2", "scb_d2.*"])
package_dir = {}
for init in sorted(Path(__file__).parent.glob("projects/*/*/__init__.py")):
    folder = init.parent.relative_to(Path(__file__).parent)
    name = f"scb_d2.projects.{folder.name}"
    package_dir[name] = folder.as_posix()
    packages += [name, *(f"{name}.{sub}" for sub in find_packages(str(init.parent)))]

package_data = {
    "scb_d2": ["py.typed", "utils/pages/*.j2", "advise/evidence.json"],
    "scb_d2.data.blood_cells": ["*.json", "images/*.jpg", "LICENSE"],
}

setup(packages=packages, package_dir=package_dir, package_data=package_data)
