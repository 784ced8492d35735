"""The argument for overrides of config keys, which several commands take."""

import argparse

__all__ = ["add_overrides"]


def add_overrides(parser: argparse.ArgumentParser, flag: bool = False) -> None:
    """Declare ``opts``, the list of ``KEY VALUE``.

    Args:
        parser: of a command.
        flag: as ``--opts`` before other words, where the command ends with words of its own;
            otherwise they are the rest of the command line.
    """
    text = "overrides of the config's keys{}; key=value for a .py"
    if flag:
        parser.add_argument(
            "--opts", nargs="*", default=[], metavar="KEY VALUE", help=text.format("")
        )
    else:
        parser.add_argument(
            "opts",
            nargs=argparse.REMAINDER,
            metavar="KEY VALUE",
            help=text.format(", after all other arguments"),
        )
