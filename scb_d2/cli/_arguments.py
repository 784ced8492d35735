"""Arguments that several commands take."""

import argparse

__all__ = ["add_config_file", "add_datasets", "add_output", "add_overrides"]


def add_config_file(
    parser: argparse.ArgumentParser,
    text: str = "YAML or LazyConfig .py, a path or a name of Detectron2's model zoo",
) -> None:
    """Declare ``--config-file``, which must be given.

    Args:
        parser: of a command.
        text: its help.
    """
    parser.add_argument("--config-file", required=True, metavar="FILE", help=text)


def add_output(parser: argparse.ArgumentParser, text: str = "folder to write into") -> None:
    """Declare ``--output``, a folder that must be given.

    Args:
        parser: of a command.
        text: its help.
    """
    parser.add_argument("--output", required=True, metavar="DIR", help=text)


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Declare ``dataset``, names of registered data sets in place of those that are trained on."""
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="NAME",
        help="registered data set, may be repeated (default: what the config trains on)",
    )


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
