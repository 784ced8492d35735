"""Compare two arms of training runs with intervals over seeds: `scb-d2 compare`.

In Python::

    comparison = compare_arms(load_arms(["runs/stock/seed1"], ["runs/scb/seed1"]))
    write_comparison(comparison, "comparison")
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scb_d2.errors import ConfigError
from scb_d2.evaluation.recall import RecallSettings
from scb_d2.evaluation.size_bins import object_areas
from scb_d2.utils.files import staged_directory
from scb_d2.utils.plain_json import to_json

from .gained_lost import OperatingPoint, changes, load_match_counts, most_changed
from .intervals import compare_metric, holm
from .metrics import (
    RunTables,
    bootstrap_differences,
    is_judged,
    metric_names,
    pair_metrics,
)
from .pictures import draw_change
from .report import comparison_figure, comparison_html, comparison_markdown
from .runs import Arms

__all__ = ["CompareSettings", "Comparison", "compare_arms", "write_comparison"]

_VERDICT_RULE = (
    "the wider of the paired t interval over seeds and the two-level bootstrap (seed pairs, then "
    "images) decides: the candidate is better or worse where it leaves out 0; below two seed pairs "
    "nothing can be told. Metrics other than the primary one also need a p-value (the larger of "
    "the two tests) of at most 1 - confidence after Holm's adjustment over all of them"
)


@dataclass(frozen=True)
class CompareSettings:
    """How two arms are compared.

    Attributes:
        recall: what is measured of each run; every value more is a metric more to adjust for.
        primary: the metric that the main verdict is on; `APs`, the AP of the smallest objects, by
            default.
        confidence: of the intervals, in (0, 1).
        resamples: of the bootstrap; 0 leaves it out.
        seed: of its random draws.
        point: which detections are kept when objects are called gained or lost.
        pictures: most pictures.
    """

    recall: RecallSettings = field(default_factory=lambda: RecallSettings(fp_per_image=(1.0,)))
    primary: str | None = None
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    point: OperatingPoint = field(default_factory=OperatingPoint)
    pictures: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence {self.confidence}: must lie between 0 and 1.")
        if self.resamples < 0 or self.pictures < 0:
            raise ConfigError("resamples and pictures: must not be negative.")
        names = [name for name in metric_names(self.recall) if is_judged(name)]
        if self.primary is not None and self.primary not in names:
            raise ConfigError(
                f"primary metric {self.primary!r}: must be one of {', '.join(names)}."
            )

    @property
    def primary_metric(self) -> str:
        """The name of the primary metric, the first AP of a size unless chosen."""
        return self.primary or metric_names(self.recall)[3]


@dataclass(frozen=True)
class Comparison:
    """A comparison as data for JSON, and its pictures by file name."""

    result: dict[str, Any]
    pictures: dict[str, Figure]


def compare_arms(
    arms: Arms,
    settings: CompareSettings | None = None,
    *,
    area_scales: np.ndarray | None = None,
    match_counts: str | Path | dict[str, int] | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare two arms.

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
    ones = np.ones(truth.num_images, dtype=np.int64)
    values = np.array([pair_metrics(*pair, ones) for pair in pairs])  # pair, arm, metric
    resampled = None
    if settings.resamples:
        resampled = bootstrap_differences(
            pairs, truth.num_images, settings.resamples, settings.seed, progress
        )

    lowest = np.array(
        [[settings.point.lowest_score(run, truth.num_images) for run in pair] for pair in pairs]
    )
    scores = np.array([[run.matches.object_score for run in pair] for pair in pairs])
    found = scores >= lowest[:, :, None]
    sizes = recall.bins.index(object_areas(truth, recall.area, area_scales))
    pictures, listed = {}, []
    for rank, (image, pair) in enumerate(most_changed(truth, found, settings.pictures), start=1):
        name = f"pictures/{rank:02d}.png"
        pictures[name] = draw_change(
            truth,
            image,
            arms.detections[pair],
            tuple(run.matches.outcome for run in pairs[pair]),
            tuple(lowest[pair]),
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
    result = {
        "rules": {
            **recall.describe(),
            "verdict": _VERDICT_RULE,
            "confidence": settings.confidence,
            "resamples": settings.resamples,
            "bootstrap_seed": settings.seed,
            "spread": "standard deviation over the seeds",
            "gained and lost": settings.point.describe(),
        },
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
        "primary": settings.primary_metric,
        "metrics": _judge(values, resampled, settings),
        "changes": changes(truth, sizes, recall.bins.names, found, counts),
        "pictures": listed,
    }
    return Comparison(result, pictures)


def write_comparison(comparison: Comparison, output: str | Path) -> None:
    """Write `compare.json`, `compare.md`, `compare.html`, `compare.png` and `pictures/`.

    Everything is written aside first: after an error `output` is as it was.

    Raises:
        UserError: `output` cannot be written.
    """
    with staged_directory(output) as folder:
        (folder / "pictures").mkdir()
        comparison_figure(comparison.result).savefig(folder / "compare.png", dpi=120)
        for name, figure in comparison.pictures.items():
            figure.savefig(folder / name, dpi=100)
        result = comparison.result
        (folder / "compare.json").write_text(to_json(result), encoding="utf-8")
        (folder / "compare.md").write_text(comparison_markdown(result), encoding="utf-8")
        (folder / "compare.html").write_text(comparison_html(result, folder), encoding="utf-8")


def _judge(
    values: np.ndarray, resampled: np.ndarray | None, settings: CompareSettings
) -> dict[str, Any]:
    names = metric_names(settings.recall)
    compared = {
        name: compare_metric(
            values[:, 0, n],
            values[:, 1, n],
            None if resampled is None else resampled[:, n],
            settings.confidence,
        )
        for n, name in enumerate(names)
    }
    others = [n for n in names if is_judged(n) and n != settings.primary_metric]
    p_values = [compared[name].p_value for name in others]
    adjusted = dict(zip(others, holm([np.nan if p is None else p for p in p_values]), strict=True))
    table = {}
    for name, metric in compared.items():
        if name == settings.primary_metric:
            metric = metric.judged(settings.confidence)
        elif name in adjusted:
            metric = metric.judged(settings.confidence, adjusted[name])
        spread = [
            float(np.std(arm, ddof=1)) if len(arm) > 1 else None
            for arm in (metric.baseline, metric.candidate)
        ]
        row = asdict(metric) | {
            "baseline_mean": float(np.mean(metric.baseline)),
            "baseline_spread": spread[0],
            "candidate_mean": float(np.mean(metric.candidate)),
            "candidate_spread": spread[1],
            "difference": metric.difference,
            "differences": metric.differences.tolist(),
        }
        if not is_judged(name):
            row["verdict"] = None
        table[name] = row
    return table
