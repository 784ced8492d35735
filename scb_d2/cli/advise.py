"""What to change in a config about the objects that are lost, in order, and the plan to prove it.

Looks at input size, anchors, limits, thresholds, classes, the loss and the training recipe, from
the config and the annotations alone: nothing is trained and no image is decoded. Writes
advice.html, advice.json, advised.yaml (your config with the changes; .py for a LazyConfig) and
plan.yaml for 'scb-d2 experiment'.
"""

import argparse

from ._arguments import add_config_file, add_datasets, add_output, add_overrides

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 advise`."""
    add_config_file(parser)
    add_output(parser)
    add_datasets(parser)
    parser.add_argument(
        "--max-images",
        type=int,
        default=1000,
        metavar="N",
        help="match N images, drawn at random (default: 1000); all annotations are read",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default: 0)")
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Look, print the findings in order and write the files."""
    from scb_d2.advise.files import headline, write_advice
    from scb_d2.advise.run import advise
    from scb_d2.engine.config.lazy_file import running_once

    with running_once():
        advice = advise(
            args.config_file,
            args.opts,
            datasets=args.dataset,
            max_images=args.max_images,
            seed=args.seed,
        )
        paths = write_advice(advice, args.output)
    print(headline(advice))
    for number, finding in enumerate(advice.findings, start=1):
        print(f"\n{number}. {finding.title}")
        print(f"   {finding.measured}")
        for change in finding.changes or finding.changes_together:
            print(f"     {change.key}: {change.value}")
        if finding.action:
            print(f"   {finding.action}")
        print(f"   Expected: {finding.expected}")
        print(f"   Cost: {finding.cost}")
    print(f"\nWritten: {', '.join(map(str, paths))}")
