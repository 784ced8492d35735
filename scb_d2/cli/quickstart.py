"""Train, evaluate and picture RetinaNet with the scale-balanced loss on the embedded data.

Takes a few minutes on two CPU cores; a GPU is used when there is one. A run that was interrupted
goes on where its last checkpoint was.
"""

import argparse
from pathlib import Path

from ._arguments import add_overrides

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--output",
        default="output/quickstart",
        metavar="DIR",
        help="folder to write into (default: output/quickstart)",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="another config (default: the checkout's configs/quickstart.yaml)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="start over where DIR holds a run already"
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from scb_d2.quickstart.run import run_quickstart

    run_quickstart(args.config_file or _default_config(), args.output, args.opts, args.restart)


def _default_config() -> str:
    from scb_d2.errors import ConfigError

    path = Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml"
    if not path.is_file():
        raise ConfigError(
            "the quick start's config is part of the checkout, not of the installed package; give "
            "it with --config-file FILE."
        )
    return str(path)
