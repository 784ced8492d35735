"""Compare two arms of training runs, seed by seed, with intervals and a verdict.

A run is an OUTPUT_DIR of train_net.py, or a COCO results file with --annotations. Writes tables
(Markdown, JSON), a figure, pictures of the images that changed most and one page, compare.html.
"""

import argparse

from ._arguments import add_output
from .recall import add_recall_arguments, area_scales_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 compare`."""
    parser.add_argument("--baseline", nargs="+", required=True, metavar="RUN", help="its runs")
    parser.add_argument("--candidate", nargs="+", required=True, metavar="RUN", help="its runs")
    add_output(parser, "folder to write")
    add_compare_arguments(parser)
    parser.add_argument(
        "--annotations",
        metavar="FILE.json",
        help="COCO annotations; default: what the runs' config.yaml names",
    )
    parser.add_argument("--images", metavar="DIR", help="folder of the images, for the pictures")
    parser.add_argument(
        "--pair",
        choices=["auto", "seed", "order"],
        default="auto",
        help="pair by SEED of the configs, or in the order given; auto (default): by seed where "
        "every run has one",
    )
    parser.add_argument(
        "--match-counts",
        metavar="FILE.json",
        help="what 'scb-d2 matches --per-object' wrote for this data set: splits gained and lost "
        "objects by the anchors they match",
    )


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how is compared, for `compare` and `experiment`; a flag not given is None."""
    parser.add_argument(
        "--primary",
        metavar="METRIC",
        help="metric of the main verdict (default: APs, the AP of small objects)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="which data set, where runs were evaluated on several"
    )
    parser.add_argument("--confidence", type=float, help="of the intervals (default: 0.95)")
    parser.add_argument(
        "--resamples",
        type=int,
        metavar="N",
        help="bootstrap resamples (default: 1000; 0: none)",
    )
    parser.add_argument(
        "--recall-at",
        metavar="POINT",
        help="where recall is judged, and objects are called gained or lost: fp@N, N false "
        "positives of the size per image; or baseline@S, as many as the baseline makes at score S "
        "(default: baseline@0.3)",
    )
    parser.add_argument("--pictures", type=int, default=8, metavar="N", help="most pictures (8)")
    add_recall_arguments(parser, else_as="as the runs' own TEST.RECALL says")


def run(args: argparse.Namespace) -> None:
    """Compare and write.

    Raises:
        UserError: the input is malformed; nothing is written then.
    """
    from scb_d2.compare.report import headline
    from scb_d2.compare.run import compare_arms, write_comparison
    from scb_d2.compare.runs import load_arms
    from scb_d2.compare.settings import CompareChoices, recall_of_runs

    choices = chosen_by_flags(args, CompareChoices())
    choices.check()  # a wrong flag shows before the runs are read
    arms = load_arms(
        args.baseline,
        args.candidate,
        annotations=args.annotations,
        images=args.images,
        pair=args.pair,
        dataset=choices.dataset,
    )
    for pair, detections in zip(arms.pairs, arms.detections, strict=True):
        for member, found in zip(pair, detections, strict=True):
            if not len(found):
                print(f"{member.name}: holds no detections, so its AP and recall are 0.")
    runs = [run for pair in arms.pairs for run in pair]
    settings = choices.settings(recall_of_runs(runs, choices), args.pictures)
    scales = area_scales_of(args, settings.recall.area, arms.ground_truth.image_sizes)
    comparison = compare_arms(
        arms,
        settings,
        area_scales=scales,
        match_counts=args.match_counts,
        progress=True,
    )
    write_comparison(comparison, args.output)
    if arms.dataset:
        print(f"Data set: {arms.dataset}.")
    print(headline(comparison.result))
    print(f"Written to {args.output}: compare.html, compare.md, compare.json.")


def chosen_by_flags(args: argparse.Namespace, choices):
    """The :class:`CompareChoices` with the flags that were given in place of their values."""
    from dataclasses import fields, replace

    flags = {field.name: getattr(args, field.name, None) for field in fields(choices)}
    return replace(choices, **{key: value for key, value in flags.items() if value is not None})
