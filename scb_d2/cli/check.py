"""Check the data sets of a config before any training.

Errors would stop a run; warnings and notes tell what training and evaluation will do with the
data. Reads every annotation file and the header of every image file, with --decode its pixels too;
writes nothing.
"""

import argparse
import sys

from ._arguments import add_config_file, add_overrides

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 check`."""
    add_config_file(parser)
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 after warnings too, not only errors"
    )
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--skip-images",
        action="store_true",
        help="do not open image files; that they exist is still checked",
    )
    images.add_argument(
        "--decode",
        action="store_true",
        help="read the pixels of every image too, which finds files that break off",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Print what is found; 1 if it holds errors, or with ``--strict`` warnings."""
    from scb_d2.engine.config.data_report import check_config_data

    reports, disagreement = check_config_data(
        args.config_file,
        args.opts,
        headers=0 if args.skip_images else None,
        decode=args.decode,
    )
    counts = {"error": 0, "warning": 0, "note": 0}
    for report in reports:
        print(f"{report.name}: {report.num_images:,} images, {report.num_annotations:,} objects")
        for finding in report.findings:
            counts[finding.severity] += 1
            print(f"  {finding.severity}: {finding.message}")
    if disagreement:
        counts["error"] += 1
        print(f"error: {disagreement}")
    summary = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items())
    failed = counts["error"] > 0 or (args.strict and counts["warning"] > 0)
    print(f"{summary}.", flush=True)
    if failed:
        unfit = "errors" if counts["error"] else "warnings, which --strict does not allow"
        print(f"The data of {args.config_file} has {unfit}.", file=sys.stderr)
    return int(failed)
