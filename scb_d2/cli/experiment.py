"""Train k seeds of several arms from one plan, go on where it stopped, and compare them.

PLAN.yaml names a config, an output folder, seeds and arms (name: overrides; the first is the
baseline). Finished runs are skipped and interrupted ones resumed. Then every other arm is compared
with the baseline, as 'scb-d2 compare' does, into OUTPUT/compare/<arm>, and OUTPUT/summary.json
gathers settings, commit, hardware and every number. How is compared stands in the plan (`compare`).
"""

import argparse
import shlex

from .compare import add_compare_arguments, chosen_by_flags
from .recall import area_scales_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 experiment`."""
    parser.add_argument("plan", metavar="PLAN.yaml")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--train-only", action="store_true", help="do not compare")
    part.add_argument(
        "--compare-only",
        action="store_true",
        help="train nothing: judge the seeds that all arms have finished, whatever commit trained "
        "them, as long as it is one",
    )
    part.add_argument(
        "--part",
        type=_part,
        metavar="I/N",
        help="train every N-th run from the I-th on and do not compare: N processes share a plan",
    )
    add_compare_arguments(parser)


def _part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} must be I/N with 1 <= I <= N, such as 1/2")
    return int(number), int(count)


def run(args: argparse.Namespace) -> None:
    """Train and compare.

    Raises:
        UserError: the plan or a flag is wrong, or a run failed.
    """
    from scb_d2.engine.config.lazy_file import running_once

    with running_once():  # every arm is the same file with other overrides
        _train_and_compare(args)


def _train_and_compare(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from scb_d2.compare.report import headline
    from scb_d2.compare.run import compare_arms, judge_together, write_comparison
    from scb_d2.compare.runs import load_arms
    from scb_d2.compare.settings import recall_of_runs
    from scb_d2.experiment.plan import load_plan
    from scb_d2.experiment.summary import summarize
    from scb_d2.experiment.training import finished_arms, train_all
    from scb_d2.utils.files import atomic_write
    from scb_d2.utils.plain_json import to_json

    experiment = load_plan(args.plan)
    choices = chosen_by_flags(args, experiment.compare)
    choices.check()
    experiment = replace(experiment, compare=choices)
    if not args.compare_only:
        train_all(experiment, say=lambda line: print(line, flush=True), part=args.part or (1, 1))
    if args.train_only or args.part:
        return
    finished = finished_arms(experiment)
    comparisons = {}
    for pair in experiment.comparisons:
        folders = ([run.folder for run in finished[arm]] for arm in pair)
        arms = load_arms(*folders, pair="seed", dataset=choices.dataset)
        runs = [run for members in arms.pairs for run in members]
        settings = choices.settings(recall_of_runs(runs, choices), args.pictures)
        scales = area_scales_of(args, settings.recall.area, arms.ground_truth.image_sizes)
        comparisons[pair] = compare_arms(arms, settings, area_scales=scales, progress=True)
    comparisons = judge_together(comparisons, experiment.confirmatory)
    for (baseline, candidate), comparison in comparisons.items():
        folder = experiment.comparison_folder(baseline, candidate)
        write_comparison(comparison, folder)
        print(f"{candidate} against {baseline}: {headline(comparison.result)}")
        print(f"Written to {folder}: compare.html, compare.md, compare.json.")
    summary = summarize(experiment, finished, shlex.join(["scb-d2", *args.typed]), comparisons)
    with atomic_write(experiment.output / "summary.json", encoding="utf-8") as file:
        file.write(to_json(summary))
    print(f"Written to {experiment.output}: summary.json.")
