"""Imports go down the floors, and the picture of them is of today."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def architecture(repo_root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tool", repo_root / "tools" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_imports_go_down_only(architecture: ModuleType) -> None:
    assert architecture.broken_rules() == []


def test_the_picture_is_of_today(architecture: ModuleType) -> None:
    drawn = architecture.PICTURE.read_text(encoding="utf-8")
    assert drawn == architecture.picture(), "run python tools/architecture.py"


@pytest.mark.parametrize(
    ("place", "line", "sentence"),
    [
        ("loss", "from scb_d2.config import get_cfg", "loss must not import config"),
        ("loss", "from detectron2.config import CfgNode", "must not import detectron2.config"),
        (
            "evaluation",
            "def f():\n    import scb_d2.engine.main",
            "evaluation must not import engine",
        ),
        ("compare", "from ..matches import verdict", "compare must not import matches"),
        ("data", "from scb_d2 import build_model", "data must not import api"),
    ],
)
def test_a_wrong_import_is_named(
    architecture: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    line: str,
    sentence: str,
) -> None:
    folder = tmp_path / "scb_d2" / place
    folder.mkdir(parents=True)
    (folder / "wrong.py").write_text(line)
    monkeypatch.setattr(architecture, "ROOT", tmp_path)
    broken = architecture.broken_rules()
    assert len(broken) == 1 and sentence in broken[0] and f"scb_d2.{place}.wrong" in broken[0]


def test_every_part_stands_on_one_floor(architecture: ModuleType, repo_root: Path) -> None:
    placed = [part for parts in architecture.FLOORS for part in parts]
    assert len(placed) == len(set(placed)) and set(placed) == set(architecture.ABOUT)
    there = {
        path.stem
        for path in (repo_root / "scb_d2").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert there - {"__init__", "__main__"} <= set(placed)
