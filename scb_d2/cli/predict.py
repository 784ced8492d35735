"""Draw detections on your own images and save them as JSON.

IMAGE is a file, a folder, or a quoted pattern such as 'photos/*.jpg'. For every image OUTPUT gets
a picture; predictions.json holds all detections in COCO's results format, each with its file_name
and category_name besides.
"""

import argparse

from ._arguments import add_config_file, add_output, add_overrides

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or pattern")
    add_config_file(parser, "YAML, such as config.yaml in the folder of a run, or LazyConfig .py")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="checkpoint (default: model_final.pth beside the config file)",
    )
    add_output(parser)
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="S",
        help="leave out detections with a lower score, 0 to 1 (default: 0.5); the config's own "
        "threshold for tests still applies",
    )
    add_overrides(parser, flag=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; 1 if an image could not be used."""
    from detectron2.utils.logger import setup_logger

    from scb_d2.predict.run import predict_images

    setup_logger(name="scb_d2")
    failed = predict_images(
        args.config_file, args.opts, args.weights, args.images, args.output, args.score_threshold
    )
    return int(failed > 0)
