"""Recall by object size of any detector's results in COCO format.

Reads a list of {image_id, category_id, bbox, score} and COCO annotations, and prints recall of
small, medium and large objects at confidence thresholds, with precision and false positives per
image, recall at equal false positives, AP and AR.
"""

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 recall`."""
    parser.add_argument("results", metavar="RESULTS.json", help="detections, COCO results format")
    parser.add_argument("annotations", metavar="ANNOTATIONS.json", help="ground truth, COCO format")
    add_recall_arguments(parser)
    parser.add_argument(
        "--max-detections",
        type=int,
        metavar="N",
        help="most detections per image and class (with --match any: per image); default: all",
    )
    parser.add_argument(
        "--by-class",
        type=float,
        nargs="?",
        const=0.5,
        metavar="SCORE",
        help="also recall, precision and false positives of each class, and which class is taken "
        "for which, from this score on (default: 0.5)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="also write recall.json, recall.md and recall.png here; with --by-class also "
        "by_class.json",
    )


def add_recall_arguments(parser: argparse.ArgumentParser, else_as: str = "") -> None:
    """Declare what `recall` and `compare` measure alike; a flag that is not given is None.

    Args:
        parser: the command's.
        else_as: whose values hold in place of the defaults, for the help.
    """
    parser.add_argument("--iou", type=float, help=f"IoU of a match (default: {else_as or '0.5'})")
    parser.add_argument(
        "--thresholds",
        type=float,
        nargs="+",
        metavar="SCORE",
        help=f"a detection counts from this score on (default: {else_as or '0.01 0.1 0.3'})",
    )
    parser.add_argument(
        "--fp-per-image",
        type=float,
        nargs="*",
        metavar="FP",
        help="recall of a size also at this many false positives of that size per image (default: "
        f"{else_as or '0.1 1 10'})",
    )
    parser.add_argument(
        "--match",
        choices=["greedy", "any"],
        help="greedy: one-to-one by score within a class, COCO's rule; any: an IoU with any box of "
        f"the image, the paper's wording (default: {else_as or 'greedy'})",
    )
    parser.add_argument(
        "--areas",
        type=float,
        nargs="+",
        metavar="PX2",
        help=f"inner limits of the size bins in square pixels (default: {else_as or '1024 9216'})",
    )
    parser.add_argument(
        "--area",
        choices=["annotation", "box", "input"],
        help="size of an object: the annotation's area in native pixels, its box in native pixels, "
        f"or its box in network-input pixels (default: {else_as or 'annotation'})",
    )
    parser.add_argument(
        "--input-size",
        type=int,
        nargs=2,
        metavar=("SHORTEST", "LONGEST"),
        help="with --area input: INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST",
    )
    parser.add_argument(
        "--input-fixed",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="with --area input: the size that every image is warped to, as SSD does",
    )


def run(args: argparse.Namespace) -> None:
    """Print the table, and write it where `--output` says.

    Raises:
        UserError: the input is malformed; nothing is written then.
    """
    from scb_d2.data.reader.detections import load_detections
    from scb_d2.data.reader.ground_truth import load_ground_truth
    from scb_d2.evaluation.class_confusion import class_markdown, confuse_classes
    from scb_d2.evaluation.recall import evaluate_recall
    from scb_d2.evaluation.recall_report import recall_figure, recall_markdown
    from scb_d2.utils.files import staged_directory
    from scb_d2.utils.plain_json import to_json

    settings = settings_of(args)
    ground_truth = load_ground_truth(args.annotations)
    detections = load_detections(args.results, ground_truth)
    if not len(detections):
        print(f"{args.results}: holds no detections, so every recall is 0.")
    scales = area_scales_of(args, settings.area, ground_truth.image_sizes)
    result = evaluate_recall(ground_truth, detections, settings, area_scales=scales)
    page, by_class = recall_markdown(result, args.results), None
    if args.by_class is not None:
        by_class = confuse_classes(
            ground_truth,
            detections,
            threshold=args.by_class,
            iou=settings.iou,
            max_detections=settings.max_detections,
        )
        page += f"\n{class_markdown(by_class)}"
    print(page)
    if args.output:
        with staged_directory(args.output) as folder:
            (folder / "recall.json").write_text(to_json(result), encoding="utf-8")
            (folder / "recall.md").write_text(page, encoding="utf-8")
            recall_figure(result, args.results).savefig(folder / "recall.png", dpi=130)
            if by_class is not None:
                text = to_json(by_class.to_json())
                (folder / "by_class.json").write_text(text, encoding="utf-8")
        print(f"Written to {args.output}.")


def settings_of(args: argparse.Namespace):
    """The :class:`RecallSettings` that the flags describe."""
    from scb_d2.evaluation.recall import RecallSettings
    from scb_d2.evaluation.size_bins import SizeBins

    chosen = {key: getattr(args, key) for key in ("iou", "match", "area", "max_detections")}
    for key in ("thresholds", "fp_per_image"):
        values = getattr(args, key)
        chosen[key] = None if values is None else tuple(values)
    if args.areas is not None:
        chosen["bins"] = SizeBins(tuple(args.areas))
    return RecallSettings(**{key: value for key, value in chosen.items() if value is not None})


def area_scales_of(args: argparse.Namespace, rule: str, image_sizes):
    """(N,) network-input pixels per native pixel, or None unless the area rule is `input`."""
    from scb_d2.errors import ConfigError
    from scb_d2.evaluation.size_bins import input_scales

    if rule != "input":
        if args.input_size or args.input_fixed:
            raise ConfigError("--input-size and --input-fixed: need --area input.")
        return None
    return input_scales(image_sizes, shortest_edge=args.input_size, fixed=args.input_fixed)
