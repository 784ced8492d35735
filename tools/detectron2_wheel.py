"""Get Detectron2 as a pure-Python wheel, which needs no compiler.

`sal-detectron2` on the Python package index holds the Python code of Detectron2's main branch
(Apache-2.0, import name `detectron2`). It is tagged for CPython 3.10 because of a compiled
extension that neither this project nor the detectors it supports need, so the wheel is rebuilt
without it.
"""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

NAME, VERSION = "sal-detectron2", "0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"


def download(python: Path, folder: Path) -> Path:
    """Download the published wheel with the pip of `python` and check it.

    Raises:
        subprocess.CalledProcessError: pip failed.
        ValueError: the file is not the one that was reviewed.
    """
    command = f"""-m pip download --quiet --no-deps --only-binary=:all: --python-version 3.10
        --implementation cp --abi none --platform any {NAME}=={VERSION} --dest""".split()
    subprocess.run([python, *command, folder], check=True)
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{wheel.name} has sha256 {digest}, expected {SHA256}")
    return wheel


def make_pure(wheel: Path, folder: Path) -> Path:
    """Write `wheel` again as `py3-none-any` and return its path.

    Left out: the extension, the scripts under the far too general package name `tools`, and the
    requirements (numpy<2 among them), for which this project's own list stands.
    """
    distribution = f"{NAME.replace('-', '_')}-{VERSION}"
    info = f"{distribution}.dist-info"
    pure = folder / f"{distribution}-py3-none-any.whl"

    def dropped(name: str) -> bool:
        return name.endswith(".so") or name.startswith("tools/")

    def lines_without(text: str, *starts: str) -> str:
        return "".join(line for line in text.splitlines(True) if not line.startswith(starts))

    with zipfile.ZipFile(wheel) as source:
        files = {name: source.read(name) for name in source.namelist() if not dropped(name)}
    texts = {name: files[f"{info}/{name}"].decode() for name in ("METADATA", "RECORD", "WHEEL")}
    files[f"{info}/top_level.txt"] = b"detectron2\n"
    files[f"{info}/METADATA"] = lines_without(
        texts["METADATA"], "Requires-Dist:", "Provides-Extra:"
    ).encode()
    files[f"{info}/WHEEL"] = (
        lines_without(texts["WHEEL"], "Tag:", "Root-Is-Purelib:").rstrip()
        + "\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ).encode()
    changed = tuple(f"{info}/{name}," for name in ("METADATA", "WHEEL", "top_level.txt"))
    kept = [
        line
        for line in lines_without(texts["RECORD"], *changed).splitlines()
        if not dropped(line.split(",")[0])
    ]
    files[f"{info}/RECORD"] = "\n".join(kept + [f"{name}," for name in changed] + [""]).encode()
    with zipfile.ZipFile(pure, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return pure
