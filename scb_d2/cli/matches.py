"""How many anchors each object matches, before any training.

Counts matches with the config's own anchors, matcher and input size, on the CPU, without weights
and without decoding images, and says whether the scale-balanced loss has something to balance.
Writes matches.html (one page with everything), matches.json and PNG figures.
"""

import argparse

from ._arguments import add_config_file, add_datasets, add_output, add_overrides

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 matches`."""
    add_config_file(parser)
    add_output(parser, "folder for the report")
    add_datasets(parser)
    parser.add_argument(
        "--sizes",
        choices=["input", "native"],
        default="input",
        help="pixels in which an object is small, medium or large: network input, as in the paper "
        "(default), or native",
    )
    parser.add_argument(
        "--size",
        default="middle",
        metavar="SIZE",
        help="shorter edge of the input: smallest, middle (default) or largest of the config's "
        "training sizes, or pixels",
    )
    parser.add_argument(
        "--augment",
        action="store_true",
        help="draw the config's random training augmentation instead of one fixed size",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument(
        "--max-images", type=int, metavar="N", help="the first N images only (default: all)"
    )
    parser.add_argument(
        "--samples", type=int, default=6, metavar="N", help="images to draw (default: 6)"
    )
    parser.add_argument(
        "--list",
        type=int,
        default=1000,
        metavar="N",
        dest="max_listed",
        help="most unmatched objects to list (default: 1000)",
    )
    parser.add_argument(
        "--per-object",
        metavar="FILE",
        help="also write a JSON object of annotation id to number of matches",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Make the report and print what it concludes."""
    from scb_d2.matches.run import match_report, write_match_report

    report = match_report(
        args.config_file,
        args.opts,
        datasets=args.dataset,
        sizes=args.sizes,
        input_size=int(args.size) if args.size.isdigit() else args.size,
        augment=args.augment,
        seed=args.seed,
        max_images=args.max_images,
        max_listed=max(0, args.max_listed),
        max_samples=max(0, args.samples),
        per_object=args.per_object,
    )
    paths = write_match_report(report, args.output)
    data = report.to_json()
    recall = data["best_possible_recall"]
    print(
        f"{data['num_objects']:,} objects of {data['num_images']:,} images; "
        f"{data['unmatched']['count']:,} match no anchor, {data['no_overlap']['count']:,} overlap "
        f"none; best possible recall {recall['all']:.1%} at {recall['rule']}."
    )
    print(f"Input: {report.about['input']}. Size: {report.about['sizes']['rule']}.")
    for warning in report.warnings:
        print(f"Warning: {warning}")
    print(report.verdict.text)
    print(f"Report: {paths[0]}")
