"""The floors of the package: which part may import which, and their picture.

    python tools/architecture.py            # redraw docs/images/architecture.svg
    python tools/architecture.py --check    # fail where a rule is broken or the picture is old

Reads the imports of every file, those inside functions too; imports nothing itself.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
TOP = "scb_d2"

# From the ground up. A part may import what stands on a floor below its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("utils",),
    ("loss", "visualization"),
    ("config",),
    ("modeling", "data"),
    ("evaluation", "projects"),
    ("engine",),
    ("matches", "compare", "predict", "export"),
    ("experiment", "quickstart"),
    ("advise",),
    ("cli", "api"),
)
WINGS = ("matches", "compare", "predict", "export", "experiment", "quickstart", "advise")
# Wings stand beside each other; these few build on another one.
WING_IMPORTS = {
    "experiment": {"compare"},
    "advise": {"matches"},
    "quickstart": {"matches", "predict"},
}
NEVER = {"evaluation": {"modeling", "projects"}, "projects": {"evaluation"}}
# What the method may take from Detectron2: no config, and of its models the matcher and box coding.
LOSS_IMPORTS = (
    "detectron2.layers",
    "detectron2.modeling.box_regression",
    "detectron2.modeling.matcher",
    "detectron2.structures",
    "detectron2.utils",
)
ABOUT = {
    "errors": "sentences for the user",
    "utils": "files, seeds, sizes, pages",
    "loss": "the method: M, W, weighted losses",
    "visualization": "boxes, grids, curves",
    "config": "every key",
    "modeling": "detectors on the method",
    "data": "records, checks, mapper",
    "evaluation": "AP and recall by size",
    "projects": "SSD, FSSD, DSSD, RefineDet, ...",
    "engine": "config, rehearsal, training",
    "matches": "before training",
    "compare": "after training",
    "predict": "single images",
    "export": "to plain Detectron2",
    "experiment": "arms and seeds of a plan",
    "quickstart": "the first run",
    "advise": "what to change",
    "cli": "flags of the commands",
    "api": "the public names",
}


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files() -> Iterator[tuple[str, Path]]:
    """Module name and path of every file of the package and of the projects."""
    for path in sorted((ROOT / TOP).rglob("*.py")):
        yield _module(path.relative_to(ROOT)), path
    for init in sorted((ROOT / "projects").glob("*/*/__init__.py")):
        for path in sorted(init.parent.rglob("*.py")):
            inside = path.relative_to(init.parents[1])
            yield f"{TOP}.projects.{_module(inside)}", path


def imported_modules(module: str, path: Path) -> set[str]:
    """What a file imports, as absolute names; ``from a import b`` gives ``a.b``."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str:
    """The part of the package that a module belongs to; the package itself is ``api``."""
    names = module.split(".")
    if names[-1] == "__main__":
        return "cli"
    return names[1] if len(names) > 1 and names[1] in ABOUT else "api"


def arrows() -> dict[tuple[str, str], list[str]]:
    """(part, imported part) to the modules that do so."""
    found = defaultdict(list)
    for module, path in files():
        part = part_of(module)
        for name in sorted(imported_modules(module, path)):
            if name.split(".")[0] == TOP and part_of(name) != part:
                found[part, part_of(name)].append(module)
    return dict(found)


def broken_rules() -> list[str]:
    """One sentence for every import that no rule allows."""
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    broken = []
    for (part, other), modules in sorted(arrows().items()):
        allowed = floor[other] < floor[part] and other not in NEVER.get(part, ())
        if part in WINGS and other in WINGS:
            allowed = other in WING_IMPORTS.get(part, ())
        if not allowed:
            broken.append(f"{part} must not import {other}: {', '.join(sorted(set(modules)))}")
    for module, path in files():
        if part_of(module) != "loss":
            continue
        for name in sorted(imported_modules(module, path)):
            if name.startswith("detectron2") and not name.startswith(LOSS_IMPORTS):
                broken.append(f"{module} must not import {name}")
    return broken


def picture() -> str:
    """The floors as SVG; each part says what it uses besides the ground floors."""
    width, height, gap, margin = 1000, 68, 14, 16
    ground = {part for parts in FLOORS[:2] for part in parts}
    used = defaultdict(set)
    for part, other in arrows():
        used[part].add(other)
    total = 2 * margin + len(FLOORS) * (height + gap) - gap
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
        'font-family="system-ui, sans-serif" text-anchor="middle">',
        f'<rect width="{width}" height="{total}" fill="#ffffff"/>',
    ]
    for number, parts in enumerate(reversed(FLOORS)):
        y = margin + number * (height + gap)
        box = (width - 2 * margin - (len(parts) - 1) * gap) / len(parts)
        for index, part in enumerate(parts):
            x = margin + index * (box + gap)
            fill = "#e7f1fa" if part in WINGS else "#fdf1e3" if part == "loss" else "#f4f4f4"
            uses = _uses(used[part] - ground)
            small = 11 if box > 300 else 9.5
            lines.append(
                f'<rect x="{x:g}" y="{y}" width="{box:g}" height="{height}" rx="6" fill="{fill}" '
                'stroke="#555"/>'
            )
            for text, offset, style in (
                (part, 20, 'font-size="16" font-weight="600" fill="#1a1a1a"'),
                (ABOUT[part], 39, 'font-size="13" fill="#333"'),
                (uses, 57, f'font-size="{small}" fill="#0072B2"'),
            ):
                lines.append(
                    f'<text x="{x + box / 2:g}" y="{y + offset}" {style}>{escape(text)}</text>'
                )
    return "\n".join([*lines, "</svg>", ""])


def _uses(parts: set[str]) -> str:
    wings = parts & set(WINGS)
    names = sorted(parts - wings) + (["every command"] if len(wings) > 4 else sorted(wings))
    return f"uses {', '.join(names)}" if names else ""


def main(argv: list[str]) -> int:
    """Draw, or check."""
    broken = broken_rules()
    drawn = picture()
    if "--check" not in argv:
        PICTURE.write_text(drawn, encoding="utf-8")
    elif not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != drawn:
        broken.append(f"{PICTURE.relative_to(ROOT)} is old: run python tools/architecture.py")
    for sentence in broken:
        print(sentence, file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
