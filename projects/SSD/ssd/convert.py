"""Write weights from elsewhere as a checkpoint of this project.

    python -m scb_d2.projects.ssd.convert vgg16-397923af.pth ssd_vgg16.pth

``MODEL.WEIGHTS`` takes the same files unconverted. A converted detector can also start a training
on other classes: Detectron2 then skips the layers whose shapes differ and says so.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from scb_d2.errors import DataError
from scb_d2.utils.files import atomic_write
from scb_d2.utils.user_errors import report_user_errors

from .weights import convert_weights

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a file.

    Args:
        argv: the command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m scb_d2.projects.ssd.convert",
        description="Write weights of torchvision's vgg16 or ssd300_vgg16, or vgg16_reducedfc.pth, "
        "as a checkpoint of this project.",
    )
    parser.add_argument("source", type=Path, help="the file")
    parser.add_argument("output", type=Path, help="the checkpoint to write, .pth")
    args = parser.parse_args(argv)
    return report_user_errors(lambda: _convert(args.source, args.output))


def _convert(source: Path, output: Path) -> None:
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{source} does not exist.") from None
    except Exception as error:  # zip, pickle and torch raise many kinds
        raise DataError(f"{source} is no file of PyTorch weights.") from error
    if not isinstance(loaded, dict) or not all(torch.is_tensor(x) for x in loaded.values()):
        raise DataError(f"{source} is no state dict: it does not map names to tensors.")
    converted = convert_weights(loaded)
    if converted is None:
        raise DataError(
            f"{source} holds neither VGG16 nor torchvision's SSD300: its first weight is "
            f"{next(iter(loaded), 'missing')}."
        )
    with atomic_write(output, "wb") as file:
        torch.save({"model": converted, "__author__": "scb_d2"}, file)


if __name__ == "__main__":
    sys.exit(main())
