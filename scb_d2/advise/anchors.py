"""Anchors that fit the objects, at no more of them than today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scb_d2.matches.anchors import AnchorGeometry
from scb_d2.utils.size_groups import SIZE_NAMES

from .anchor_fit.coverage import Coverage, Level
from .anchor_fit.layouts import fit_ssd, fit_uniform
from .finding import Change, Finding
from .measure import MatchCounts
from .situation import Matched, Situation

__all__ = ["advise_anchors", "coverage_of"]

_MOST_OBJECTS = 3000
_LEAST_GAIN, _LEAST_GAIN_OF_A_SIZE = 0.01, 0.03
_LEAST_OBJECTS, _LEAST_SHARE = 20, 0.01


def advise_anchors(situation: Situation, enlarged: Matched | None) -> Finding | None:
    """Sizes and ratios that let more objects reach the matcher's IoU.

    Args:
        situation: of the config.
        enlarged: today's anchors at the advised input, to which anchors are fitted where all
            advice is followed at once; None where the input stays.

    Returns:
        None where today's anchors are as good, or are no grid that is known here.
    """
    if situation.matched is None:
        return None
    changes = _fitted(situation, situation.matched)
    if not changes:
        return None
    before = situation.matched.counts
    after = situation.match_again(changes, "fitted anchors").counts
    gain = after.recall()["all"] - before.recall()["all"]
    if not _worth_it(before, after) or after.anchors_per_image > before.anchors_per_image:
        return None
    together = None if enlarged is None else _fitted(situation, enlarged)
    was, then = before.recall(before.sizes), after.recall(before.sizes)
    mean_was, mean_then = before.mean_matches(before.sizes), after.mean_matches(before.sizes)
    return Finding(
        code="anchors",
        title="Fit the anchors to the objects",
        measured=(
            f"{1 - was['all']:.1%} of the objects overlap no anchor by the IoU of "
            f"{before.threshold:g} from which one matches ({_by_size(was)})."
        ),
        why=(
            "An object without such an anchor is learned from its best one at most, and found "
            "only where the box is moved far."
        ),
        expected=(
            f"Best possible recall {was['all']:.1%} -> {then['all']:.1%} ({_by_size(then)}); "
            f"mean M {_numbers(mean_was)} -> {_numbers(mean_then)}."
        ),
        cost=(
            f"None at run time: {before.anchors_per_image:,} -> {after.anchors_per_image:,} "
            "anchors an image. The heads of a checkpoint that was trained with other anchors fit "
            "worse, or not at all where the number of anchors per cell changes."
        ),
        concerns=float(np.clip(max(gain, 1 - was["all"]), 0, 1)),
        changes=changes,
        together=together or None,
    )


def coverage_of(matched: Matched) -> Coverage | None:
    """A sample of the objects on the grids of a detector's anchors; None for unknown grids."""
    levels = _levels(matched.geometry)
    if levels is None or matched.counts.threshold is None:
        return None
    counts = matched.counts
    rows = np.arange(len(counts.boxes))
    if len(rows) > _MOST_OBJECTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_OBJECTS, replace=False))
    sizes = counts.input_sizes[rows]
    grids = {
        size: matched.geometry.grid_sizes(matched.geometry.padded_size(size))
        for size in {tuple(map(int, s)) for s in sizes}
    }
    cells = np.array([grids[tuple(map(int, s))] for s in sizes])[:, :, ::-1]
    return Coverage(counts.boxes[rows], levels, cells, counts.threshold)


def _levels(geometry: AnchorGeometry) -> list[Level] | None:
    generator = geometry.anchor_generator
    kind = type(generator).__name__
    if kind == "DefaultAnchorGenerator":
        return [Level(generator.offset * step, float(step)) for step in generator.strides]
    if kind == "SSDAnchorGenerator":
        pairs = zip(generator.starts, generator.steps, strict=True)
        return [Level(first, step) for first, step in pairs]
    return None


def _fitted(situation: Situation, matched: Matched) -> tuple[Change, ...]:
    coverage, find = coverage_of(matched), situation.settings.find
    if coverage is None:
        return ()
    reason = f"fitted to {len(coverage):,} objects for the most to reach IoU {coverage.threshold:g}"
    if situation.settings.kind == "ssd":
        small, large = find("ssd_min_sizes"), find("ssd_max_sizes")
        ratios = find("ssd_ratios")
        minima, maxima, lists = fit_ssd(coverage, small.value, large.value, ratios.value)
        fitted = [(small, minima), (large, maxima), (ratios, lists)]
    else:
        sizes, ratios = find("anchor_sizes"), find("anchor_ratios")
        if sizes is None or ratios is None:
            return ()
        own = _lists(sizes.value)
        own = own * len(coverage.levels) if len(own) == 1 else own
        own_ratios = _lists(ratios.value)[0]
        new, new_ratios = fit_uniform(coverage, own, own_ratios)
        ratio_lists = new_ratios if _is_flat(ratios.value) else [new_ratios]
        fitted = [(sizes, new), (ratios, ratio_lists)]
        heads = find("num_anchors")
        if heads is not None:
            fitted.append((heads, len(new[0]) * len(new_ratios)))
    return tuple(Change(s.key, value, reason) for s, value in fitted if s.value != value)


def _lists(value: list[Any]) -> list[list[float]]:
    return [value] if _is_flat(value) else [list(item) for item in value]


def _is_flat(value: list[Any]) -> bool:
    return not isinstance(value[0], list | tuple)


def _worth_it(before: MatchCounts, after: MatchCounts) -> bool:
    was, then = before.recall(before.sizes), after.recall(before.sizes)
    if then["all"] - was["all"] >= _LEAST_GAIN:
        return True
    least = max(_LEAST_OBJECTS, _LEAST_SHARE * len(before.sizes))
    common = [n for i, n in enumerate(SIZE_NAMES) if (before.sizes == i).sum() >= least]
    gains = [then[name] - was[name] for name in common]
    return then["all"] >= was["all"] and max(gains, default=0) >= _LEAST_GAIN_OF_A_SIZE


def _by_size(recall: Mapping[str, float]) -> str:
    known = {n: recall[n] for n in SIZE_NAMES if not np.isnan(recall[n])}
    return "reached: " + ", ".join(f"{name} {value:.1%}" for name, value in known.items())


def _numbers(means: Mapping[str, float]) -> str:
    return " / ".join("-" if np.isnan(means[n]) else f"{means[n]:.1f}" for n in SIZE_NAMES)
