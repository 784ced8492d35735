"""Train, evaluate and picture RetinaNet with the scale-balanced loss on embedded data.

Takes a few minutes on two CPU cores; a GPU is used when there is one. A run that was interrupted
goes on where its last checkpoint was.
"""

import argparse
from pathlib import Path

from ._arguments import add_overrides

__all__ = ["add_arguments", "run"]

_CONFIGS = {"blood-cells": "laptop_retinanet_scb.yaml", "shapes": "shapes_retinanet_scb.yaml"}
_OUTPUTS = {"blood-cells": "output/quickstart", "shapes": "output/quickstart_shapes"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--data",
        choices=list(_CONFIGS),
        default="blood-cells",
        help="photographs of blood cells, on pretrained weights (default); or drawn shapes, from "
        "random weights",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder to write into (default: output/quickstart, output/quickstart_shapes)",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="another config (default: the checkout's, configs/laptop_retinanet_scb.yaml or "
        "configs/shapes_retinanet_scb.yaml)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="start over where DIR holds a run already"
    )
    parser.add_argument(
        "--against-stock",
        action="store_true",
        help="did the loss do anything? Train DIR's finished run again with the stock loss, into "
        "DIR_stock, and compare the two in DIR_compare",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from scb_d2.quickstart.run import run_quickstart

    output = (args.output or _OUTPUTS[args.data]).rstrip("/")
    if args.against_stock:
        _run_against_stock(output, args)
        return
    config = args.config_file or _checkout_config(_CONFIGS[args.data])
    run_quickstart(config, output, args.opts, args.restart)


def _run_against_stock(output: str, args: argparse.Namespace) -> None:
    """The run of a folder once more with the stock loss, and what the difference is."""
    from scb_d2.errors import ConfigError
    from scb_d2.quickstart.folder import finished_summary
    from scb_d2.quickstart.run import run_quickstart

    from . import compare

    if finished_summary(Path(output)) is None:
        raise ConfigError(
            f"--against-stock needs a finished quick start in {output}, which holds none: run "
            "`scb-d2 quickstart` first, or name its folder with --output."
        )
    if args.opts or args.config_file:
        raise ConfigError("--against-stock takes the settings of the finished run, and no others.")
    config, stock = f"{output}/config.yaml", f"{output}_stock"
    run_quickstart(config, stock, ["MODEL.SCB.ENABLED", "False"], args.restart)
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    words = ["--baseline", stock, "--candidate", output, "--output", f"{output}_compare"]
    compare.run(parser.parse_args(words))


def _checkout_config(name: str) -> str:
    from scb_d2.errors import ConfigError

    path = Path(__file__).resolve().parents[2] / "configs" / name
    if not path.is_file():
        raise ConfigError(
            "the quick start's config is part of the checkout, not of the installed package; give "
            "it with --config-file FILE."
        )
    return str(path)
