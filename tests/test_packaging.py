"""The package as users install it: requirements, wheel, checkout, set-up scripts."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def project(repo_root):
    return tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(repo_root):
    lines = (repo_root / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.fixture
def tool(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(repo_root / "tools")
    return importlib.import_module


def import_in(cwd: Path, modules: Iterable[str], search: Path | None = None) -> dict[str, Path]:
    """Import `modules` in a new process, `search` before site-packages; return their files."""
    code = (
        "import importlib, json\n"
        f"files = {{n: importlib.import_module(n).__file__ for n in {list(modules)!r}}}\n"
        "print(json.dumps(files))"
    )
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    if search is not None:
        environment["PYTHONPATH"] = str(search)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    files = json.loads(result.stdout.splitlines()[-1])
    return {name: Path(file) for name, file in files.items()}


@pytest.fixture(scope="module")
def checkout_files(repo_root):
    """The file of each importable detector, and of the package that holds them."""
    files = {
        f"scb_d2.projects.{file.parent.name}": file
        for file in repo_root.glob("projects/*/*/__init__.py")
    }
    return files | {"scb_d2.projects": repo_root / "scb_d2" / "projects" / "__init__.py"}


# ---------------------------------------------------------------- requirements


def test_every_requirement_is_pinned_within_its_bounds(project, pins):
    extras = project["optional-dependencies"].values()
    requirements = [
        Requirement(text) for group in [project["dependencies"], *extras] for text in group
    ]
    checked = 0
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name != canonicalize_name(project["name"]):
            assert pins[name] in requirement.specifier, requirement
            checked += 1
    assert checked >= 20


def test_torch_and_torchvision_are_pinned_as_a_pair(pins):
    """torchvision 0.(N + 15) is built for torch 2.N."""
    assert int(pins["torch"].split(".")[1]) + 15 == int(pins["torchvision"].split(".")[1])


def test_version_is_the_same_everywhere(project, repo_root):
    import scb_d2

    citation = yaml.safe_load((repo_root / "CITATION.cff").read_text())
    assert scb_d2.__version__ == project["version"] == str(citation["version"])
    assert citation["preferred-citation"]["doi"] == "10.1016/j.patcog.2021.107997"


def test_missing_detectron2_is_one_sentence(tmp_path):
    code = "import sys; sys.modules['detectron2'] = None; import scb_d2"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert "make env" in last and "docs/install.md" in last


# ---------------------------------------------------------------- wheel and checkout


@pytest.fixture(scope="module")
def unpacked_wheel(repo_root, tmp_path_factory):
    """The wheel of this checkout, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "output", "build")
    for name in ("scb_d2", "projects"):
        if (repo_root / name).is_dir():
            shutil.copytree(repo_root / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        if (repo_root / name).is_file():
            shutil.copy(repo_root / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "-w", folder, source]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (wheel,) = folder.glob("scb_d2-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_holds_the_package_and_nothing_else(unpacked_wheel, project):
    (info,) = unpacked_wheel.glob("*.dist-info")
    assert {path.name for path in unpacked_wheel.iterdir()} == {"scb_d2", info.name}
    assert (unpacked_wheel / "scb_d2" / "py.typed").is_file()
    assert "scb-d2 = scb_d2.cli:main" in (info / "entry_points.txt").read_text()
    assert f"Version: {project['version']}\n" in (info / "METADATA").read_text()


def test_wheel_holds_every_module_of_the_checkout(unpacked_wheel, repo_root):
    modules = {path.relative_to(repo_root).as_posix() for path in repo_root.glob("scb_d2/**/*.py")}
    for init in repo_root.glob("projects/*/*/__init__.py"):
        for path in init.parent.rglob("*.py"):
            relative = path.relative_to(init.parent.parent)
            modules.add(f"scb_d2/projects/{relative.as_posix()}")
    held = {p.relative_to(unpacked_wheel).as_posix() for p in unpacked_wheel.glob("scb_d2/**/*.py")}
    assert held == modules


def test_detectors_import_from_a_wheel_outside_the_checkout(
    unpacked_wheel, checkout_files, tmp_path
):
    files = import_in(tmp_path, checkout_files, search=unpacked_wheel)
    assert all(file.is_relative_to(unpacked_wheel) for file in files.values())


def test_checkout_wins_over_an_installed_wheel(unpacked_wheel, checkout_files, repo_root):
    assert import_in(repo_root, checkout_files, search=unpacked_wheel) == checkout_files


def test_editable_install_finds_the_detectors_outside_the_checkout(checkout_files, tmp_path, tool):
    installed = tool("setup_env").Environment(Path(sys.prefix)).probe()["scb_d2"]
    if installed != str(checkout_files["scb_d2.projects"].parents[1] / "__init__.py"):
        pytest.skip("this environment holds no editable installation of this checkout")
    assert import_in(tmp_path, checkout_files) == checkout_files


# ---------------------------------------------------------------- set-up scripts


def published_wheel(folder: Path) -> Path:
    """A small stand-in for the wheel of the package index, with the same peculiarities."""
    info = "sal_detectron2-0.7.2.dist-info"
    contents = {
        "detectron2/__init__.py": "",
        "detectron2/_C.cpython-310-x86_64-linux-gnu.so": "binary",
        "tools/train_net.py": "",
        f"{info}/METADATA": (
            "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\n"
            "Requires-Dist: numpy<2\nProvides-Extra: all\nLicense-File: LICENSE\n"
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp310-cp310-any\n\n",
        f"{info}/top_level.txt": "detectron2\ntools\n",
    }
    record = "".join(f"{name},sha256=x,1\n" for name in contents) + f"{info}/RECORD,,\n"
    wheel = folder / "sal_detectron2-0.7.2-cp310-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in (contents | {f"{info}/RECORD": record}).items():
            archive.writestr(name, text)
    return wheel


def test_pure_wheel_has_no_extension_no_scripts_and_no_requirements(tool, tmp_path):
    pure = tool("detectron2_wheel").make_pure(published_wheel(tmp_path), tmp_path)
    assert pure.name == "sal_detectron2-0.7.2-py3-none-any.whl"
    with zipfile.ZipFile(pure) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    info = "sal_detectron2-0.7.2.dist-info"
    assert set(texts) == {"detectron2/__init__.py"} | {
        f"{info}/{name}" for name in ("METADATA", "WHEEL", "top_level.txt", "RECORD")
    }
    assert "Requires-Dist" not in texts[f"{info}/METADATA"]
    assert "License-File: LICENSE" in texts[f"{info}/METADATA"]
    assert texts[f"{info}/WHEEL"].count("Tag:") == 1
    assert "Tag: py3-none-any\n" in texts[f"{info}/WHEEL"]
    recorded = {line.split(",")[0] for line in texts[f"{info}/RECORD"].splitlines()}
    assert recorded == set(texts)


def test_unexpected_download_is_refused(tool, tmp_path, monkeypatch):
    module = tool("detectron2_wheel")
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: published_wheel(tmp_path))
    with pytest.raises(ValueError, match="sha256"):
        module.download(Path(sys.executable), tmp_path)


def state(**changes):
    good = {"version": [3, 11], "names": [], "damaged": [], "modules": ["pip"], "scb_d2": None}
    return good | changes


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (state(), ""),
        (None, "does not run"),  # the Python it was made with is gone
        (state(modules=[]), "does not run"),  # made half, without pip
        (state(damaged=["torch"]), "torch"),
    ],
)
def test_own_environment_is_made_anew_when_it_is_broken(tool, tmp_path, found, reason):
    module = tool("setup_env")
    env = module.Environment(tmp_path)
    env.python.parent.mkdir()
    env.python.touch()
    answer = module.problems(env, found, own=True, python="")
    assert reason in answer and bool(answer) == bool(reason)


def test_probe_tells_a_damaged_package_from_a_whole_one(tool, tmp_path, monkeypatch):
    for name in ("whole", "damaged", "cut"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        if name != "cut":  # pip writes RECORD last
            (info / "RECORD").write_text(f"{name}/__init__.py,,\n{info.name}/METADATA,,\n")
    (tmp_path / "whole").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    env = tool("setup_env").Environment(Path(sys.prefix))
    found = env.probe()
    assert {"damaged", "cut"} <= set(found["damaged"]) and "whole" not in found["damaged"]
    assert {"whole", "damaged", "cut", "torch"} <= set(found["names"])
    assert "detectron2" in found["modules"]


def test_environment_of_somebody_else_is_never_cleared(tool, tmp_path):
    module = tool("setup_env")
    foreign = tmp_path / "venv"
    (foreign / "bin").mkdir(parents=True)
    (foreign / "bin" / "python").symlink_to(sys.executable)
    env = module.Environment(foreign)
    assert not module.is_own(env)
    with pytest.raises(module.SetupError, match="ensurepip"):
        module.problems(env, None, own=False, python="")
    assert module.problems(env, state(damaged=["torch"]), own=False, python="") == ""
    assert module.is_own(module.Environment(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("python", "venv", "message"),
    [
        ("no-such-python", "venv", "error: PYTHON=no-such-python is not a Python 3.11 or newer."),
        (sys.executable, "file", "is a file, not the folder of an environment."),
        (sys.executable, "folder", "holds other files and no Python environment."),
    ],
)
def test_set_up_fails_with_one_line(repo_root, tmp_path, python, venv, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").touch()
    tools = repo_root / "tools"
    script = ["sh", tools / "with_python.sh", python, tools / "setup_env.py"]
    result = subprocess.run([*script, "--venv", venv], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and result.stderr.strip().endswith(message)
    assert not (tmp_path / "venv").exists()
