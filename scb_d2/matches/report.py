"""The match report: counts, shares, verdict and suggestions as one JSON-ready object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scb_d2.utils.size_groups import SIZE_EDGES, SIZE_NAMES

from .anchors import AnchorGeometry
from .collect import SIZE_RULES
from .suggest import AnchorSuggestion, covered_share, suggest_anchors
from .tally import IOU_BINS, ImageMatches, MatchTally
from .verdict import Verdict, give_verdict
from .weight_shares import weight_shares

__all__ = ["MATCH_RANGES", "MatchReport", "count_range", "make_report"]

MATCH_RANGES: tuple[tuple[int, int | None], ...] = ((0, 0), (1, 5), (6, 10), (11, 20), (21, None))
"""Inclusive ranges of M that figures and tables group by; 0-5 and more than 10 are the paper's."""

_MOSTLY_ONE_SIZE = 0.9


@dataclass(frozen=True)
class MatchReport:
    """What ``scb-d2 matches`` found.

    Attributes:
        about: config, data sets, detector, matcher, input and size rule, in words and numbers.
        tally: the counts.
        shares: see :func:`scb_d2.matches.weight_shares.weight_shares`.
        verdict: whether there is something to balance.
        suggestions: anchors that would cover uncovered objects.
        covered_by_suggestions: share of the uncovered objects that these cover, on a sample.
        warnings: sentences.
        level_names: names of the feature maps, in the order of the anchors.
    """

    about: dict[str, Any]
    tally: MatchTally
    shares: dict[str, Any]
    verdict: Verdict
    suggestions: list[AnchorSuggestion]
    covered_by_suggestions: float
    level_names: list[str]
    warnings: list[str] = field(default_factory=list)

    @property
    def samples(self) -> list[ImageMatches]:
        """Images worth drawing, the worst first."""
        return self.tally.samples

    def to_json(self) -> dict[str, Any]:
        """Every number of the report; the figures are drawn from this."""
        tally = self.tally
        by_size = _histograms(tally.by_size, SIZE_NAMES)
        return {
            "about": self.about,
            "num_images": tally.num_images,
            "images_without_objects": tally.empty_images,
            "num_objects": tally.num_objects,
            "annotations_left_out": tally.left_out,
            "histogram": {
                "all": _ordered(_total(tally.by_size)),
                "by_size": by_size,
                "by_class": _histograms(tally.by_class, tally.class_names),
                "by_level": _histograms(tally.by_level, self.level_names),
            },
            "ranges": {
                name: {_range_name(r): count_range(histogram, *r) for r in MATCH_RANGES}
                for name, histogram in by_size.items()
            },
            "matches_by_level": {
                level: {name: tally.level_matches[i, s] for s, name in enumerate(SIZE_NAMES)}
                for i, level in enumerate(self.level_names)
            },
            "best_iou": {
                "bin_edges": [round(i / IOU_BINS, 4) for i in range(IOU_BINS + 1)],
                "by_size": dict(zip(SIZE_NAMES, tally.iou_histogram.tolist(), strict=True)),
            },
            "best_possible_recall": _recall(tally),
            "unmatched": _listing(
                sum(n for (_, m), n in tally.by_size.items() if m == 0), tally.unmatched_objects
            ),
            "no_overlap": _listing(int(tally.no_overlap.sum()), tally.no_overlap_objects)
            | {"images_with_all_anchors_positive": tally.all_positive_images},
            "weight_shares": self.shares,
            "verdict": self.verdict.to_json(),
            "suggestions": self._suggestions_json(),
            "warnings": self.warnings,
        }

    def _suggestions_json(self) -> dict[str, Any]:
        tally, sample = self.tally, len(self.tally.uncovered_sample)
        reached = int(tally.covered.sum()) + self.covered_by_suggestions * tally.num_uncovered
        return {
            "uncovered": tally.num_uncovered,
            "sampled": sample,
            "uncovered_shapes": _shape_summary(tally.uncovered_sample),
            "anchors": [
                {
                    "kind": s.kind,
                    "value": s.value,
                    "level": self.level_names[s.level],
                    "shapes_wh": [[round(w, 2), round(h, 2)] for w, h in s.shapes],
                    "added_anchors_per_image": s.added_anchors,
                    "newly_covers_of_sample": s.covers,
                }
                for s in self.suggestions
            ],
            "share_of_uncovered_then_covered": self.covered_by_suggestions,
            "best_possible_recall_then": reached / tally.num_objects,
        }


def make_report(
    tally: MatchTally,
    geometry: AnchorGeometry,
    about: Mapping[str, Any],
    *,
    size_rule: str,
    form: str = "information",
    alpha: float = 1.0,
    beta: float = 3.0,
    further_sums: Mapping[str, np.ndarray] | None = None,
) -> MatchReport:
    """Draw the conclusions from the counts.

    Args:
        tally: of at least one object.
        geometry: that the objects were matched to.
        about: what to say of config and data.
        size_rule: one of :data:`SIZE_RULES`, as in :func:`collect_matches`.
        form: weight form of the config.
        alpha: of the config, for all forms.
        beta: of the config, for all forms.
        further_sums: of ``form``, where it needs more than M: see
            :func:`scb_d2.matches.weight_shares.weight_shares`.
    """
    shares = weight_shares(tally.by_size, alpha, beta, further_sums)
    suggestions, then_covered = [], 0.0
    if tally.threshold is not None and not geometry.rotated:
        suggestions = suggest_anchors(tally.uncovered_sample, geometry, tally.threshold)
        then_covered = covered_share(tally.uncovered_sample, geometry, suggestions, tally.threshold)
    about = dict(about) | {
        "detector_stage": geometry.name,
        "matcher": _about_matcher(geometry.matcher, tally.threshold),
        "weight": {"form": form, "alpha": alpha, "beta": beta},
        "sizes": {
            "rule": SIZE_RULES[size_rule],
            "edges_square_pixels": list(SIZE_EDGES),
            "names": list(SIZE_NAMES),
        },
    }
    reached = float(tally.covered.sum()) / tally.num_objects
    return MatchReport(
        about=about,
        tally=tally,
        shares=shares,
        verdict=give_verdict(
            shares, form, reached, tally.threshold, _low_quality(geometry.matcher)
        ),
        suggestions=suggestions,
        covered_by_suggestions=then_covered,
        level_names=list(geometry.in_features),
        warnings=_warnings(tally, geometry) + _size_warning(shares["objects"], size_rule),
    )


def count_range(histogram: Mapping[str, int], low: int, high: int | None) -> int:
    """Objects with ``low <= M <= high`` of a histogram of :meth:`MatchReport.to_json`."""
    return sum(
        n for m, n in histogram.items() if low <= int(m) and (high is None or int(m) <= high)
    )


def _range_name(bounds: tuple[int, int | None]) -> str:
    low, high = bounds
    return f"> {low - 1}" if high is None else str(low) if low == high else f"{low}-{high}"


def _total(counter: Mapping[tuple[int, int], int]) -> Counter[int]:
    total: Counter[int] = Counter()
    for (_, matches), objects in counter.items():
        total[matches] += objects
    return total


def _ordered(counter: Mapping[int, int]) -> dict[str, int]:
    return {str(matches): counter[matches] for matches in sorted(counter)}


def _histograms(
    counter: Mapping[tuple[int, int], int], names: tuple[str, ...] | list[str]
) -> dict[str, dict[str, int]]:
    parts: list[Counter[int]] = [Counter() for _ in names]
    for (index, matches), objects in counter.items():
        parts[index][matches] += objects
    return {name: _ordered(part) for name, part in zip(names, parts, strict=True)}


def _recall(tally: MatchTally) -> dict[str, Any]:
    objects = tally.iou_histogram.sum(axis=1)
    return {
        "iou": tally.threshold,
        "rule": "any match" if tally.threshold is None else f"IoU {tally.threshold:g}",
        "all": int(tally.covered.sum()) / tally.num_objects,
        "by_size": {
            name: (int(hit) / int(n) if n else None)
            for name, hit, n in zip(SIZE_NAMES, tally.covered, objects, strict=True)
        },
        "reached": {n: int(x) for n, x in zip(SIZE_NAMES, tally.covered, strict=True)},
    }


def _listing(count: int, objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"count": count, "listed": len(objects), "objects": objects}


def _shape_summary(sample: list[tuple[np.ndarray, tuple[int, int]]]) -> dict[str, Any] | None:
    if not sample:
        return None
    edges = np.array([box[2:4] if len(box) == 5 else box[2:] - box[:2] for box, _ in sample])
    size = np.sqrt(edges.prod(axis=1))
    ratio = edges.max(axis=1) / edges.min(axis=1).clip(min=1e-6)
    return {
        name: {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (10, 50, 90)}
        for name, values in (("sqrt_area_px", size), ("longer_by_shorter_edge", ratio))
    }


def _about_matcher(matcher: Any, threshold: float | None) -> dict[str, Any]:
    about = {"class": type(matcher).__name__, "low_quality": _low_quality(matcher)}
    if threshold is None:
        return about | {"settings": vars(matcher)}
    return about | {
        "thresholds": [t for t in matcher.thresholds if np.isfinite(t)],
        "labels": list(matcher.labels),
        "positive_from_iou": threshold,
    }


def _low_quality(matcher: Any) -> str:
    if not matcher.allow_low_quality_matches:
        return "off"
    return getattr(matcher, "low_quality", "stock")


def _warnings(tally: MatchTally, geometry: AnchorGeometry) -> list[str]:
    warnings, apart = [], int(tally.no_overlap.sum())
    if apart:
        rule = _low_quality(geometry.matcher)
        effect = {
            "stock": f"With LOW_QUALITY 'stock' such an object makes every anchor of its image "
            f"positive ({tally.all_positive_images} image(s) here); MODEL.SCB.LOW_QUALITY "
            "'reassign' leaves it unmatched instead.",
            "reassign": "With LOW_QUALITY 'reassign' they stay unmatched.",
            "off": "Without low-quality matches they stay unmatched.",
        }[rule]
        warnings.append(f"{apart} object(s) overlap no anchor at all (best IoU 0). {effect}")
    unmatched = sum(n for (_, m), n in tally.by_size.items() if m == 0)
    if unmatched > 0.01 * tally.num_objects:
        warnings.append(
            f"{unmatched} of {tally.num_objects} objects match no anchor and teach the network "
            "nothing; no weight changes that."
        )
    if geometry.boundary_threshold >= 0:
        warnings.append("Anchors that leave the image are ignored (BOUNDARY_THRESH), as in train.")
    return warnings


def _size_warning(objects: Mapping[str, int], size_rule: str) -> list[str]:
    most = max(objects, key=objects.__getitem__)
    share = objects[most] / sum(objects.values())
    if size_rule == "native" or share < _MOSTLY_ONE_SIZE:
        return []
    return [
        f"{share:.1%} of the objects are {most} in pixels of the network's input. AP by size is "
        "of native pixels, by which the verdict may be another: --sizes native."
    ]
