"""Gather the pages of the documentation site, and what they link to, in one folder for mkdocs.

    python tools/docs_site.py build/docs

The pages keep the places that they have in the repository, so that their links hold in both. Adds
one page of API reference for each part of the package.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from architecture import ABOUT, files, part_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "projects/*/README.md",
    "experiments/README.md",
    "benchmarks/results/*.md",
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
# Parts whose modules people import; the others serve the commands.
_REFERENCE = ("api", "loss", "config", "modeling", "data", "evaluation", "engine", "visualization")


def gather(folder: Path) -> None:
    """Fill ``folder`` anew.

    Raises:
        FileNotFoundError: a page links to a file that is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            target = folder / page.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = _LINK.sub(
                lambda link, page=page: _linked(link, page, folder), page.read_text("utf-8")
            )
            target.write_text(text, encoding="utf-8")
    reference = folder / "reference"
    reference.mkdir()
    modules = [(part_of(name), name) for name, _ in files()]
    for part in _REFERENCE:
        lines = [f"# `{part}`: {ABOUT[part]}", ""]
        for _, name in filter(lambda pair, part=part: pair[0] == part, modules):
            if name != "scb_d2":
                lines += [f"::: {name}", ""]
        (reference / f"{part}.md").write_text("\n".join(lines), encoding="utf-8")


def _linked(link: re.Match[str], page: Path, folder: Path) -> str:
    """Copy what a page links to; a folder without a page of its own becomes plain text."""
    bang, text, target, anchor = link.groups()
    if "://" in target or target.startswith("mailto:"):
        return link.group()
    path = (page.parent / target).resolve()
    if not path.exists():
        raise FileNotFoundError(f"{page.relative_to(ROOT)} links to {target}, which is not there")
    if path.is_dir():
        if (path / "README.md").is_file():
            return f"{bang}[{text}]({target.rstrip('/')}/README.md{anchor or ''})"
        return text
    copy = folder / path.relative_to(ROOT)
    if path.suffix != ".md" and not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return link.group()


if __name__ == "__main__":
    gather(Path(sys.argv[1]).resolve())
