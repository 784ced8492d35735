"""The command line ``scb-d2 <command>``; every module of this package is one command.

A command's module has ``add_arguments(parser)`` and ``run(args) -> int | None``; the first line of
its docstring is its help. Only the module of the command that is asked for is imported.
"""

import argparse
import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scb_d2.utils.needless_warnings import hide_needless_warnings
from scb_d2.utils.user_errors import report_user_errors

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 0, or 1 after wrong input; wrong flags exit with 2.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    asked_for = next((word for word in argv if not word.startswith("-")), None)
    names = _command_names()
    parser = argparse.ArgumentParser(
        prog="scb-d2", description="Tools around the scale-balanced loss for Detectron2."
    )
    commands = parser.add_subparsers(metavar="command")
    for name in names:
        docstring = _docstring(name)
        command = commands.add_parser(
            name,
            help=docstring.splitlines()[0],
            description=docstring,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == asked_for:
            module = importlib.import_module(f"{__name__}.{name}")
            module.add_arguments(command)
            command.set_defaults(command_function=module.run, typed=argv)
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(2)
    if asked_for is not None and asked_for not in names:
        near = difflib.get_close_matches(asked_for, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
        parser.error(f"{asked_for} is not a command; {hint}")
    args = parser.parse_args(argv)
    if "command_function" not in args:
        parser.error(f"a command is missing; there are {', '.join(names)}.")
    hide_needless_warnings()
    return report_user_errors(lambda: args.command_function(args))


def _command_names() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def _docstring(name: str) -> str:
    """A command's docstring, read without importing what the command imports."""
    source = next(path for path in (Path(p, f"{name}.py") for p in __path__) if path.is_file())
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or name
