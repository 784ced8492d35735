"""Compare two arms of training runs with intervals over seeds: `scb-d2 compare`.

In Python::

    comparison = compare_arms(load_arms(["runs/stock/seed1"], ["runs/scb/seed1"]))
    write_comparison(comparison, "comparison")
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from scb_d2.evaluation.recall import RunTables
from scb_d2.evaluation.size_bins import object_areas
from scb_d2.utils.files import staged_directory
from scb_d2.utils.plain_json import to_json

from .gained_lost import changes, load_match_counts, lowest_scores, most_changed
from .intervals import MetricComparison, compare_metric, detectable_difference
from .judgement import VERDICT_RULE, Verdict, judge
from .metrics import Metric, bootstrap_differences, pair_metrics
from .pictures import draw_change
from .report import comparison_figure, comparison_html, comparison_markdown
from .runs import Arms
from .settings import CompareSettings

__all__ = ["Comparison", "compare_arms", "judge_together", "write_comparison"]

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """Two arms compared.

    Attributes:
        settings: how.
        metrics: every metric, the primary one first.
        verdicts: of the judged ones, by name.
        about: what else the page says, ready for JSON: rules, pairs, gained and lost objects, ...
        pictures: by file name.
    """

    settings: CompareSettings
    metrics: dict[Metric, MetricComparison]
    verdicts: dict[str, Verdict]
    about: dict[str, Any]
    pictures: dict[str, Figure]

    @property
    def judged(self) -> dict[str, MetricComparison]:
        """The metrics that a verdict is drawn on, by name."""
        return {metric.name: row for metric, row in self.metrics.items() if metric.judged}

    @property
    def result(self) -> dict[str, Any]:
        """All of it ready for JSON, but the pictures themselves."""
        confidence = self.settings.confidence
        primary = next(iter(self.metrics)).name
        table = {
            metric.name: _row(metric, row, self.verdicts.get(metric.name), confidence)
            for metric, row in self.metrics.items()
        }
        return {**self.about, "primary": primary, "metrics": table}


def compare_arms(
    arms: Arms,
    settings: CompareSettings | None = None,
    *,
    area_scales: np.ndarray | None = None,
    match_counts: str | Path | dict[str, int] | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare two arms, judged by themselves; see :func:`judge_together` for several.

    Args:
        arms: from :func:`scb_d2.compare.runs.load_arms`.
        settings: how.
        area_scales: (N,) square network-input pixels per native pixel, for the area rule `input`.
        match_counts: what `scb-d2 matches --per-object` writes, to split gained and lost objects
            by match count too.
        progress: whether to show a progress bar on stderr.

    Raises:
        UserError: a setting or the match counts are wrong.
    """
    settings = settings or CompareSettings()
    truth, recall = arms.ground_truth, settings.recall
    counts = load_match_counts(match_counts, truth) if match_counts is not None else None
    pairs = [
        tuple(RunTables.from_detections(truth, run, recall, area_scales) for run in pair)
        for pair in arms.detections
    ]
    sizes = recall.bins.index(object_areas(truth, recall.area, area_scales))
    lowest = lowest_scores(settings.recall_at, pairs, truth.num_images)
    scores = np.array([[run.matches.object_score for run in pair] for pair in pairs])
    found = scores >= lowest[:, :, sizes]
    pictures, listed = _pictures(arms, pairs, settings, lowest, found, area_scales)
    about = {
        "rules": {
            **recall.describe(),
            "verdict": VERDICT_RULE,
            "confidence": settings.confidence,
            "resamples": settings.resamples,
            "bootstrap_seed": settings.seed,
            "spread": "standard deviation over the seeds",
            "recall_at": str(settings.recall_at),
            "operating point": settings.recall_at.describe(),
        },
        "dataset": arms.dataset,
        "num_images": truth.num_images,
        "objects": int((~truth.ignored).sum()),
        "pairs": [
            {
                "seed": arms.seeds[n] if arms.seeds else None,
                "baseline": pair[0].name,
                "candidate": pair[1].name,
                "detections": [len(run) for run in arms.detections[n]],
            }
            for n, pair in enumerate(arms.pairs)
        ],
        "changes": changes(truth, sizes, recall.bins.names, found, counts),
        "pictures": listed,
    }
    metrics = _compare_metrics(pairs, truth.num_images, settings, progress)
    comparison = Comparison(settings, metrics, {}, about, pictures)
    return judge_together({"": comparison}, "")[""]


def judge_together(
    comparisons: Mapping[Name, Comparison], confirmatory: Name
) -> dict[Name, Comparison]:
    """The same comparisons with verdicts that hold for all of them together.

    Args:
        comparisons: of one plan, compared with the same settings.
        confirmatory: name of the one whose primary metric needs no adjustment.
    """
    settings = comparisons[confirmatory].settings
    verdicts = judge(
        {name: comparison.judged for name, comparison in comparisons.items()},
        primary=settings.metrics[0].name,
        confirmatory=confirmatory,
        confidence=settings.confidence,
    )
    return {
        name: replace(comparison, verdicts=verdicts[name])
        for name, comparison in comparisons.items()
    }


def write_comparison(comparison: Comparison, output: str | Path) -> None:
    """Write `compare.json`, `compare.md`, `compare.html`, `compare.png` and `pictures/`.

    Everything is written aside first: after an error `output` is as it was.

    Raises:
        UserError: `output` cannot be written.
    """
    result = comparison.result
    with staged_directory(output) as folder:
        (folder / "pictures").mkdir()
        comparison_figure(result).savefig(folder / "compare.png", dpi=120)
        for name, figure in comparison.pictures.items():
            figure.savefig(folder / name, dpi=100)
        (folder / "compare.json").write_text(to_json(result), encoding="utf-8")
        (folder / "compare.md").write_text(comparison_markdown(result), encoding="utf-8")
        (folder / "compare.html").write_text(comparison_html(result, folder), encoding="utf-8")


def _compare_metrics(
    pairs: list[tuple[RunTables, RunTables]],
    num_images: int,
    settings: CompareSettings,
    progress: bool,
) -> dict[Metric, MetricComparison]:
    metrics = settings.metrics
    ones = np.ones((1, num_images), dtype=np.int64)
    values = np.array([pair_metrics(metrics, *pair, ones) for pair in pairs])[:, :, 0]
    judged = [metric for metric in metrics if metric.judged]
    resampled: dict[Metric, np.ndarray] = {}
    if settings.resamples:
        draws = bootstrap_differences(
            judged, pairs, num_images, settings.resamples, settings.seed, progress
        )
        resampled = dict(zip(judged, draws.T, strict=True))
    return {
        metric: compare_metric(
            values[:, 0, n], values[:, 1, n], resampled.get(metric), settings.confidence
        )
        for n, metric in enumerate(metrics)
    }


def _row(
    metric: Metric, row: MetricComparison, verdict: Verdict | None, confidence: float
) -> dict[str, Any]:
    spreads = [
        float(np.std(arm, ddof=1)) if len(arm) > 1 else None
        for arm in (row.baseline, row.candidate)
    ]
    described = {
        "family": metric.family,
        "size": metric.size,
        "operating_point": None if metric.point is None else str(metric.point),
        "judged": metric.judged,
        "baseline": row.baseline,
        "candidate": row.candidate,
        "baseline_mean": float(np.mean(row.baseline)),
        "baseline_spread": spreads[0],
        "candidate_mean": float(np.mean(row.candidate)),
        "candidate_spread": spreads[1],
        "difference": row.difference,
        "differences": row.differences.tolist(),
    }
    if not metric.judged:
        return described | {"verdict": None}
    return described | {
        "t_interval": row.t_interval,
        "bootstrap_interval": row.bootstrap_interval,
        "interval": row.interval,
        "detectable": detectable_difference(row.differences, confidence=confidence),
        "p_value": row.p_value,
        "adjusted_p": verdict.adjusted_p if verdict else None,
        "verdict": verdict.text if verdict else None,
    }


def _pictures(
    arms: Arms,
    pairs: list[tuple[RunTables, RunTables]],
    settings: CompareSettings,
    lowest: np.ndarray,
    found: np.ndarray,
    area_scales: np.ndarray | None,
) -> tuple[dict[str, Figure], list[dict[str, Any]]]:
    """The images that changed most, and what is said of them."""
    truth, recall = arms.ground_truth, settings.recall
    scales = np.ones(truth.num_images) if recall.area != "input" else area_scales
    pictures, listed = {}, []
    for rank, (image, pair) in enumerate(most_changed(truth, found, settings.pictures), start=1):
        false_positives = []
        for run, tables, scores in zip(
            arms.detections[pair], pairs[pair], lowest[pair], strict=True
        ):
            size = recall.bins.index(run.area * scales[run.image])
            kept = run.scores >= scores[size]
            false_positives.append(kept & (tables.matches.outcome == 0))
        name = f"pictures/{rank:02d}.png"
        pictures[name] = draw_change(
            truth,
            image,
            arms.detections[pair],
            tuple(false_positives),
            found[pair],
            arms.image_root,
        )
        here = (truth.image == image) & ~truth.ignored
        base, cand = found[pair][:, here]
        listed.append(
            {
                "file": name,
                "image_id": truth.image_ids[image],
                "file_name": truth.file_names[image],
                "pair": pair,
                "gained": int((cand & ~base).sum()),
                "lost": int((base & ~cand).sum()),
            }
        )
    return pictures, listed
