"""A comparison as Markdown, as one self-contained page and as a figure, from the same numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tabulate import tabulate

from scb_d2.utils.pages import inline_image, render_page
from scb_d2.visualization.palette import INK, SERIES

__all__ = ["comparison_figure", "comparison_html", "comparison_markdown", "headline"]


def headline(result: dict[str, Any]) -> str:
    """The verdict on the primary metric in one sentence."""
    name = result["primary"]
    row = result["metrics"][name]
    pairs = len(result["pairs"])
    over = f"{pairs} seed pair{'s' if pairs > 1 else ''}"
    if pairs < 2:
        return (
            f"{name} (primary): cannot tell from one seed per arm (difference "
            f"{_signed(row['difference'])}); train at least two."
        )
    if math.isnan(row["difference"]):
        return f"{name} (primary): cannot tell, since no object of this size is there."
    if row["interval"] is None:
        return (
            f"{name} (primary): cannot tell, since all seed pairs differ by the same "
            f"{_signed(row['difference'])}."
        )
    adjusted = row["adjusted_p"]
    further = "" if adjusted is None else f", p {_number(adjusted, 3)} after Holm's adjustment"
    return (
        f"{name} (primary): {row['verdict']}; difference {_signed(row['difference'])}, "
        f"{result['rules']['confidence']:.0%} interval {_interval(row['interval'])} over {over}"
        f"{further}."
    )


def comparison_markdown(result: dict[str, Any]) -> str:
    """The page as Markdown."""
    lines = ["# Comparison of two arms", "", f"**{headline(result)}**", ""]
    for title, headers, rows in _tables(result):
        lines += [f"## {title}", "", tabulate(rows, headers, "pipe", disable_numparse=True), ""]
    lines += ["## Rules", "", *(f"- {line}" for line in _rules(result)), ""]
    if result["pictures"]:
        lines += ["## Images that changed most", ""]
        lines += [f"![{_caption(row)}]({row['file']})" for row in result["pictures"]]
        lines.append("")
    return "\n".join(lines)


def comparison_html(result: dict[str, Any], folder: Path) -> str:
    """The page as one HTML file with the figure and pictures of `folder` inside."""
    return render_page(
        "compare",
        title="Comparison of two arms",
        verdict=headline(result),
        differences=inline_image(folder / "compare.png"),
        tables=_tables(result),
        rules=_rules(result),
        pictures=[
            (inline_image(folder / row["file"]), _caption(row)) for row in result["pictures"]
        ],
    )


def comparison_figure(result: dict[str, Any]) -> Figure:
    """Differences of every metric with a verdict: seed pairs, mean and interval."""
    names = [name for name, row in result["metrics"].items() if row["verdict"] is not None]
    figure = Figure(figsize=(9, 1.6 + 0.27 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=INK, lw=0.8)
    limit = _axis_limit([result["metrics"][name] for name in names])
    for place, name in enumerate(names):
        row = result["metrics"][name]
        colour = SERIES[1] if name == result["primary"] else SERIES[0]
        if row["interval"] is not None:
            axes.plot(row["interval"], [place, place], color=colour, lw=2)
            for end, marker in zip(row["interval"], "<>", strict=True):
                if abs(end) > limit:
                    axes.plot(math.copysign(limit, end) * 0.985, place, marker, color=colour)
        axes.plot(row["difference"], place, "D", color=colour, ms=5)
        seeds = row["differences"]
        axes.plot(seeds, [place] * len(seeds), "o", color=INK, ms=3, alpha=0.5)
    labels = [f"{name} (primary)" if name == result["primary"] else name for name in names]
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlim(-limit, limit)
    axes.grid(axis="x", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("candidate - baseline, percentage points")
    rules = result["rules"]
    axes.set_title(
        f"diamond: mean, dots: seed pairs ({len(result['pairs'])}), line: "
        f"{rules['confidence']:.0%} interval (arrow: goes on)\nsize of an object: {rules['size']}; "
        f"recall at IoU ≥ {rules['iou']:g}",
        fontsize=9,
    )
    return figure


def _axis_limit(rows: list[dict[str, Any]]) -> float:
    """Wide enough for most intervals; a size with few objects must not hide the others."""
    ends = [abs(end) for row in rows if row["interval"] is not None for end in row["interval"]]
    ends = sorted(end for end in ends if math.isfinite(end))
    if not ends:
        ends = [abs(row["difference"]) for row in rows if math.isfinite(row["difference"])]
    usual = ends[len(ends) // 2] if ends else 0.0
    return max(2.5 * usual, 0.1)


def _tables(result: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    level = f"{result['rules']['confidence']:.0%}"
    rows = result["metrics"].items()
    judged = [
        [
            f"{name} (primary)" if name == result["primary"] else name,
            _mean(row["baseline_mean"], row["baseline_spread"]),
            _mean(row["candidate_mean"], row["candidate_spread"]),
            _signed(row["difference"]),
            _interval(row["interval"]),
            _number(row["detectable"]),
            _number(row["p_value"], 4),
            "" if row["adjusted_p"] is None else _number(row["adjusted_p"], 4),
            row["verdict"],
        ]
        for name, row in rows
        if row["judged"]
    ]
    headers = ["metric", "baseline", "candidate", "difference", f"{level} interval"]
    headers += ["could have been seen", "p", "p (Holm)", "verdict"]
    context = [
        [
            name,
            _mean(row["baseline_mean"], row["baseline_spread"]),
            _mean(row["candidate_mean"], row["candidate_spread"]),
            _signed(row["difference"]),
        ]
        for name, row in rows
        if not row["judged"]
    ]
    tables = [("Metrics", headers, judged)]
    if context:
        tables.append(("Context, without verdict", headers[:4], context))
    titles = {"by_size": "size", "by_match_count": "anchors matched (M)"}
    for key, title in titles.items():
        if key not in result["changes"]:
            continue
        rows = [
            [name, str(row["objects"])]
            + [_number(row[k], 1) for k in ("gained", "lost")]
            + [_signed(row["net"], 1), _number(row["found_by_both"], 1)]
            + [_number(row["found_by_none"], 1), " ".join(f"{n:+d}" for n in row["net_by_pair"])]
            for name, row in result["changes"][key].items()
        ]
        headers = [title, "objects", "gained", "lost", "net", "found by both", "found by none"]
        tables.append(
            (f"Gained and lost objects by {title}", [*headers, "net of every pair"], rows)
        )
    pairs = [
        ["" if row["seed"] is None else str(row["seed"]), row["baseline"], row["candidate"]]
        for row in result["pairs"]
    ]
    tables.append(("Pairs", ["seed", "baseline", "candidate"], pairs))
    return tables


def _rules(result: dict[str, Any]) -> list[str]:
    rules = result["rules"]
    bins = "; ".join(f"{name}: {limits}" for name, limits in rules["bins"].items())
    data = f"{result['dataset']}: " if result["dataset"] else ""
    return [
        f"{data}{result['num_images']} images, {result['objects']} objects; {rules['left out']} "
        "are left out.",
        "Percent; differences are candidate minus baseline in percentage points; ± is the "
        f"{rules['spread']}.",
        f"Verdict: {rules['verdict']}.",
        f"Confidence {rules['confidence']:.0%}; {rules['resamples']} resamples of the bootstrap, "
        f"seed {rules['bootstrap_seed']}.",
        "AP: COCO's rules, IoU 0.50:0.95, 100 detections per image and class.",
        f"Recall is judged at {rules['recall_at']}: {rules['operating point']}.",
        f"Recall: {rules['match']}; IoU ≥ {rules['iou']:g}; recall_small_0.3 keeps scores ≥ 0.3, "
        "recall_small_fp1 at most 1 false positive of small boxes per image, "
        "recall_small_fp=baseline@0.3 as many of them as the pair's baseline makes at score 0.3.",
        f"Size: {rules['size']}; {bins}.",
        "A false positive is of the size of its own box, as in COCO's AP of a size.",
        "Gained and lost: means over the seed pairs, at the operating point of recall.",
        "Could have been seen: the smallest true difference that as many seeds with this spread "
        "show with a power of 80 %, before any adjustment.",
        "Recall at a fixed score, precision and fp_per_image move with the scores: no verdict is "
        "drawn from them.",
    ]


def _caption(row: dict[str, Any]) -> str:
    name = row["file_name"] or row["image_id"]
    return f"{name}: {row['gained']} gained, {row['lost']} lost (pair {row['pair'] + 1})"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:+.{digits}f}"


def _mean(value: float, spread: float | None) -> str:
    return _number(value) if spread is None else f"{_number(value)} ± {_number(spread)}"


def _interval(pair: tuple[float, float] | None) -> str:
    return "-" if pair is None else f"[{_signed(pair[0])}, {_signed(pair[1])}]"
