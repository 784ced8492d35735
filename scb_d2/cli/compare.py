"""Compare two arms of training runs, seed by seed, with intervals and a verdict.

A run is an OUTPUT_DIR of train_net.py, or a COCO results file with --annotations. Writes tables
(Markdown, JSON), a figure, pictures of the images that changed most and one page, compare.html.
"""

import argparse

from .recall import add_recall_arguments, area_scales_of, settings_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 compare`."""
    parser.add_argument("--baseline", nargs="+", required=True, metavar="RUN", help="its runs")
    parser.add_argument("--candidate", nargs="+", required=True, metavar="RUN", help="its runs")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
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
    """Declare how is compared, for `compare` and `experiment`."""
    parser.add_argument(
        "--primary",
        metavar="METRIC",
        help="metric of the main verdict (default: APs, the AP of small objects)",
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="of the intervals (default: 0.95)"
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="bootstrap resamples (default: 1000; 0: none)",
    )
    point = parser.add_mutually_exclusive_group()
    point.add_argument(
        "--at-fp",
        type=float,
        metavar="FP",
        help="gained and lost objects: at this many false positives per image (default: 1)",
    )
    point.add_argument(
        "--at-score", type=float, metavar="SCORE", help="gained and lost objects: from this score"
    )
    parser.add_argument("--pictures", type=int, default=8, metavar="N", help="most pictures (8)")
    add_recall_arguments(parser, fp_per_image=[1.0])


def run(args: argparse.Namespace) -> None:
    """Compare and write.

    Raises:
        UserError: the input is malformed; nothing is written then.
    """
    from scb_d2.compare.report import headline
    from scb_d2.compare.run import compare_arms, write_comparison
    from scb_d2.compare.runs import load_arms

    settings = compare_settings_of(args)
    arms = load_arms(
        args.baseline,
        args.candidate,
        annotations=args.annotations,
        images=args.images,
        pair=args.pair,
    )
    for pair, detections in zip(arms.pairs, arms.detections, strict=True):
        for member, found in zip(pair, detections, strict=True):
            if not len(found):
                print(f"{member.name}: holds no detections, so its AP and recall are 0.")
    comparison = compare_arms(
        arms,
        settings,
        area_scales=area_scales_of(args, arms.ground_truth.image_sizes),
        match_counts=args.match_counts,
        progress=True,
    )
    write_comparison(comparison, args.output)
    print(headline(comparison.result))
    print(f"Written to {args.output}: compare.html, compare.md, compare.json.")


def compare_settings_of(args: argparse.Namespace):
    """The :class:`CompareSettings` that the flags describe."""
    from scb_d2.compare.gained_lost import OperatingPoint
    from scb_d2.compare.run import CompareSettings

    if args.at_score is not None:
        point = OperatingPoint(fp_per_image=None, score=args.at_score)
    else:
        point = OperatingPoint(fp_per_image=1.0 if args.at_fp is None else args.at_fp)
    return CompareSettings(
        recall=settings_of(args),
        primary=args.primary,
        confidence=args.confidence,
        resamples=args.resamples,
        point=point,
        pictures=args.pictures,
    )
