"""Train k seeds of several arms from one plan, go on where it stopped, and compare them.

PLAN.yaml names a config, an output folder, seeds and arms (name: overrides; the first is the
baseline). Finished runs are skipped and interrupted ones resumed. Then every other arm is compared
with the baseline, as 'scb-d2 compare' does, into OUTPUT/compare/<arm>, and OUTPUT/summary.json
gathers settings, hardware and every number.
"""

import argparse
import shlex

from .compare import add_compare_arguments, compare_settings_of
from .recall import area_scales_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 experiment`."""
    parser.add_argument("plan", metavar="PLAN.yaml")
    parser.add_argument("--train-only", action="store_true", help="do not compare")
    add_compare_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Train and compare.

    Raises:
        UserError: the plan or a flag is wrong, or a run failed.
    """
    from scb_d2.compare.report import headline
    from scb_d2.compare.run import compare_arms, write_comparison
    from scb_d2.compare.runs import load_arms
    from scb_d2.experiment.plan import load_plan, train_all
    from scb_d2.experiment.summary import summarize
    from scb_d2.utils.files import atomic_write
    from scb_d2.utils.plain_json import to_json

    settings = compare_settings_of(args)
    experiment = load_plan(args.plan)
    train_all(experiment, say=lambda line: print(line, flush=True))
    if args.train_only:
        return
    results = {}
    for baseline, candidate in experiment.comparisons:
        arms = load_arms(
            [run.folder for run in experiment.arms[baseline]],
            [run.folder for run in experiment.arms[candidate]],
            pair="seed",
        )
        scales = area_scales_of(args, arms.ground_truth.image_sizes)
        comparison = compare_arms(arms, settings, area_scales=scales, progress=True)
        folder = experiment.comparison_folder(baseline, candidate)
        write_comparison(comparison, folder)
        results[baseline, candidate] = comparison.result
        print(f"{candidate} against {baseline}: {headline(comparison.result)}")
        print(f"Written to {folder}: compare.html, compare.md, compare.json.")
    summary = to_json(summarize(experiment, shlex.join(["scb-d2", *args.typed]), results))
    with atomic_write(experiment.output / "summary.json", encoding="utf-8") as file:
        file.write(summary)
    print(f"Written to {experiment.output}: summary.json.")
