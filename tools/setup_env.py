"""Make, complete or repair the environment of the `make` targets; see docs/install.md.

Runs with any Python 3.11+ and its standard library alone. Two kinds of environment:

* its own (`.venv`, or a VENV path that was empty): everything as pinned in constraints.txt;
* an existing one (VENV names an environment made by somebody else): only what is missing is added,
  as pinned where PyTorch is missing too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import detectron2_wheel

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("pyproject.toml", "setup.py", "constraints.txt", "tools/setup_env.py")
STAMP = "scb_d2-environment.json"
DETECTRON2_URL = "https://github.com/facebookresearch/detectron2.git"
DETECTRON2_COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"

# Run by the environment's Python: what is installed, and what of it is incomplete.
PROBE = """
import importlib.metadata, importlib.util, json, os, sys
names, damaged = [], []
for dist in importlib.metadata.distributions():
    name = (dist.metadata["Name"] or "?").lower().replace("_", "-")
    names.append(name)
    if dist.read_text("METADATA") is None:
        continue  # an egg of an older tool, which has no RECORD
    files = [line.split(",")[0] for line in (dist.read_text("RECORD") or "").splitlines()]
    tops = {f.split("/")[0] for f in files if not f.startswith("..")}
    if not tops or not all(os.path.exists(dist.locate_file(top)) for top in tops):
        damaged.append(name)
spec = importlib.util.find_spec
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "names": sorted(set(names)),
    "damaged": sorted(set(damaged)),
    "modules": [m for m in ("pip", "cv2", "detectron2") if spec(m)],
    "scb_d2": getattr(spec("scb_d2"), "origin", None),
}))
"""


class SetupError(Exception):
    """Set-up cannot go on; the message is one clear sentence."""


def say(text: str) -> None:
    """Print a line of progress at once, before the output of the next subprocess."""
    print(f"[env] {text}", flush=True)


def run(command: list[str | Path], failure: str, **kwargs) -> None:
    """Run a command, its output shown; raise `SetupError(failure)` when it fails."""
    if subprocess.run(command, **kwargs).returncode:
        raise SetupError(failure)


class Environment:
    """A virtual or other Python environment at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"
        self.stamp = path / STAMP

    def read_stamp(self) -> dict:
        """What the last set-up left: `own`; `inputs`, `names`, `damaged` once it ended well."""
        try:
            return json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return {}

    def probe(self) -> dict | None:
        """What is installed (see PROBE), None where Python does not even run."""
        try:
            # -P and the working folder keep this checkout out of the search path.
            result = subprocess.run(
                [self.python, "-P", "-c", PROBE], capture_output=True, text=True, cwd=self.path
            )
            return json.loads(result.stdout) if result.returncode == 0 else None
        except (OSError, ValueError):
            return None

    def pip(self, *arguments: str | Path, failure: str) -> None:
        """Run the environment's pip."""
        command = [self.python, "-m", "pip", "--disable-pip-version-check", *arguments]
        run(command, failure, cwd=ROOT)


def create(env: Environment, python: str) -> None:
    """Make an empty virtual environment, whatever of an older one was left at its path."""
    say(f"making {env.path} with {python}")
    check = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True)
    if check.returncode:
        raise SetupError(
            f"{python} lacks the modules venv and ensurepip; install them (Debian and Ubuntu: "
            "apt install python3-venv) or name another Python: make env PYTHON=/path/to/python3"
        )
    run([python, "-m", "venv", "--clear", env.path], f"{python} could not make {env.path}")
    env.stamp.write_text(json.dumps({"own": True}))


def requirements() -> list[str]:
    """The requirements of the package, its tests and its linter."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return project["dependencies"] + extras["test"] + extras["lint"]


def install_packages(env: Environment, own: bool, state: dict) -> None:
    """Install the requirements and this checkout (editable)."""
    wanted = requirements()
    if not own and "cv2" in state["modules"]:
        # opencv-python and opencv-python-headless overwrite each other's files.
        wanted = [name for name in wanted if not name.startswith("opencv")]
    empty = "torch" not in state["names"]
    pins = ["-c", "constraints.txt"] if own or empty else []
    failure = "pip could not install the packages; its own message stands above"
    env.pip("install", "--quiet", *pins, "setuptools<81", failure=failure)
    if empty:
        say("installing PyTorch and the other packages (3 GB to download, a minute or more)")
    else:
        say(f"adding what is missing or changed in {env.path}")
    quiet = [] if empty else ["--quiet"]
    # PEP 517: Debian's pip 23.0 would run `setup.py install` for packages without a wheel.
    build = ["--use-pep517", "--no-build-isolation"]
    env.pip("install", *quiet, *build, *pins, *wanted, failure=failure)
    say("installing scb_d2 from this checkout")
    env.pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", ".", failure=failure)


def install_detectron2_wheel(env: Environment) -> None:
    """Install the Python code of Detectron2 without compiled operators."""
    say("getting Detectron2 (Python code only, no compiler needed)")
    with tempfile.TemporaryDirectory() as folder:
        try:
            wheel = detectron2_wheel.download(env.python, Path(folder))
        except subprocess.CalledProcessError:
            raise SetupError(
                "the download of Detectron2 failed; pip's own message stands above, and "
                "docs/install.md names the other way to get it"
            ) from None
        except ValueError as error:
            raise SetupError(
                f"the downloaded Detectron2 is not the expected file: {error}"
            ) from None
        pure = detectron2_wheel.make_pure(wheel, Path(folder))
        env.pip("install", "--quiet", "--no-deps", pure, failure="pip could not install Detectron2")


def install_detectron2_git(env: Environment, source: str) -> None:
    """Build upstream Detectron2 at the pinned commit from `source`, a URL, repository or folder."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise SetupError("DETECTRON2=git needs a C++ compiler, and none was found on PATH")
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "detectron2"
        if Path(source, "setup.py").is_file() and not Path(source, ".git").exists():
            shutil.copytree(source, checkout)
        else:
            say(f"cloning {source}")
            run(
                ["git", "clone", "--quiet", "--no-checkout", source, checkout],
                f"{source} could not be cloned; name a local repository or unpacked archive "
                "instead: make env DETECTRON2=git DETECTRON2_SOURCE=/path/to/detectron2",
            )
            run(
                ["git", "-C", checkout, "checkout", "--quiet", DETECTRON2_COMMIT],
                f"{source} does not hold the commit {DETECTRON2_COMMIT}",
            )
        say("building Detectron2 with its compiled operators (about 90 s)")
        env.pip(
            *("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, checkout),
            failure="Detectron2 did not build; the compiler's own message stands above",
        )
        (wheel,) = Path(folder).glob("*.whl")
        env.pip("uninstall", "--quiet", "--yes", detectron2_wheel.NAME, failure="pip failed")
        env.pip("install", "--quiet", "--no-deps", wheel, failure="pip could not install it")


def inputs_digest() -> str:
    """A digest of the files that decide what is installed."""
    return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest()


def is_own(env: Environment) -> bool:
    """Whether this script may pin versions at `env.path` and make it anew."""
    if not env.path.exists() or env.path == ROOT / ".venv":
        return True
    if not env.path.is_dir():
        raise SetupError(f"VENV={env.path} is a file, not the folder of an environment")
    if not any(env.path.iterdir()) or env.read_stamp().get("own"):
        return True
    if not env.python.exists():
        raise SetupError(f"VENV={env.path} holds other files and no Python environment")
    return False


def problems(env: Environment, state: dict | None, own: bool, python: str) -> str:
    """Why an own environment has to be made anew, empty if it need not be."""
    if not own:
        if state is None or "pip" not in state["modules"]:
            raise SetupError(f"{env.python} does not run or has no pip (python -m ensurepip)")
        if state["version"] < [3, 11]:
            raise SetupError(f"{env.python} is Python {state['version']}, 3.11 or newer is needed")
        return ""
    if not env.python.exists():
        return "it is new"
    if state is None or "pip" not in state["modules"]:
        return "its Python or pip does not run"
    if damaged := set(state["damaged"]) - set(env.read_stamp().get("damaged", [])):
        return f"incomplete in it: {', '.join(sorted(damaged))}"
    if python:
        code = "import sys; print(*sys.version_info[:2])"
        wanted = subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.split()
        if wanted != [str(part) for part in state["version"]]:
            return f"PYTHON={python} was asked for"
    return ""


def set_up(venv: str, python: str, detectron2: str, source: str) -> None:
    """Bring the environment at `venv` to what the project needs; quick when it is there already."""
    env = Environment(Path(os.path.abspath(venv)))
    own = is_own(env)
    state = env.probe()
    reason = problems(env, state, own, python)
    if reason:
        if env.path.exists() and any(env.path.iterdir()):
            say(f"making {env.path} anew: {reason}")
        create(env, python or sys.executable)
        state = env.probe()
    assert state is not None
    stamp, digest = env.read_stamp(), inputs_digest()
    complete = (
        stamp.get("inputs") == digest
        and set(stamp.get("names", ["?"])) <= set(state["names"])
        and state["scb_d2"] == str(ROOT / "scb_d2" / "__init__.py")
    )
    build = detectron2 == "git" and "detectron2" not in state["names"]
    if complete and "detectron2" in state["modules"] and not build:
        return
    if not complete:
        install_packages(env, own, state)
    if build:
        install_detectron2_git(env, source or DETECTRON2_URL)
    elif "detectron2" not in state["modules"]:
        install_detectron2_wheel(env)
    say("checking that everything can be imported")
    imports = "import torch, torchvision, cv2, detectron2, scb_d2"
    run(
        [env.python, "-P", "-W", "ignore", "-c", imports],
        "the environment was installed but does not work; Python's own message stands above",
        cwd=env.path,
    )
    # What looks damaged right after a good set-up is installed in a way that PROBE does not know.
    final = env.probe() if own else {"names": [], "damaged": []}
    left = {"own": own, "inputs": digest, "names": final["names"], "damaged": final["damaged"]}
    env.stamp.write_text(json.dumps(left))
    say(f"{env.path} is ready")


def main() -> int:
    """Parse the variables of the Makefile; one line instead of a traceback when set-up fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv")
    parser.add_argument("--python", default="", help="make the environment with this Python")
    parser.add_argument("--detectron2", default="", choices=["", "wheel", "git"])
    parser.add_argument("--detectron2-source", default="", help="repository or unpacked archive")
    args = parser.parse_args()
    try:
        set_up(args.venv, args.python, args.detectron2, args.detectron2_source)
    except SetupError as error:
        print(f"error: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
