"""The command line ``scb-d2 <command>``; every module of this package is one command.

A command's module has ``add_arguments(parser)`` and ``run(args) -> int | None``; the first line of
its docstring is its help. It imports what is slow to import inside ``run``.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Sequence

from ..engine.reporting import report_user_errors

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 0, 1 after wrong input, 2 after wrong flags.
    """
    parser = argparse.ArgumentParser(
        prog="scb-d2", description="Tools around the scale-balanced loss for Detectron2."
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{name}")
        summary = module.__doc__.strip().splitlines()[0]
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    return report_user_errors(lambda: args.run(args))
