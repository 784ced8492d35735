"""Figures of a match report, drawn from the numbers of its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scb_d2.utils.size_groups import SIZE_NAMES

__all__ = ["SIZE_COLORS", "draw_figures"]

# Okabe and Ito's palette, told apart with every common colour blindness.
SIZE_COLORS = {"small": "#D55E00", "medium": "#56B4E9", "large": "#0072B2"}
_RANGE_COLORS = ("#000000", "#0072B2", "#56B4E9", "#E69F00", "#F0E442")
_LAST_BAR = 30
_MAX_CLASSES = 30
_FORM_LABELS = {
    "objects": "objects (count)",
    "stock": "stock\nW = 1",
    "information": "information\n(ln M + α) / M",
    "inverse_sqrt": "inverse_sqrt\n1 / √M",
    "inverse": "inverse\n1 / M",
    "inverse_log": "inverse_log\n1 / (ln M + α)",
}


def draw_figures(data: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw every figure as PNG.

    Args:
        data: what :meth:`scb_d2.matches.run.MatchReport.to_json` returns.
        folder: an existing folder.

    Returns:
        File name to caption, in the order to show them.
    """
    rule = data["about"]["sizes"]["rule"]
    edges = [f"{edge**0.5:g}²" for edge in data["about"]["sizes"]["edges_square_pixels"]]
    sizes = f"small < {edges[0]} ≤ medium < {edges[1]} ≤ large: {rule}"
    drawn = {}
    for name, (draw, caption) in _FIGURES.items():
        figure = Figure(figsize=(8.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, data)
        axes.spines[["top", "right"]].set_visible(False)
        if draw is not _classes:
            figure.supxlabel(sizes, fontsize=8, color="#444444")
        figure.savefig(folder / name, dpi=110)
        drawn[name] = caption
    return drawn


def _matches_per_object(axes: Axes, data: Mapping[str, Any]) -> None:
    bottom = [0] * (_LAST_BAR + 2)
    for size in SIZE_NAMES:
        heights = [0] * (_LAST_BAR + 2)
        for matches, objects in data["histogram"]["by_size"][size].items():
            heights[min(int(matches), _LAST_BAR + 1)] += objects
        label = f"{size} ({sum(heights):,})"
        axes.bar(range(_LAST_BAR + 2), heights, bottom=bottom, color=SIZE_COLORS[size], label=label)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    ticks = [0, 1, *range(5, _LAST_BAR, 5), _LAST_BAR + 1]
    axes.set_xticks(ticks, [str(t) for t in ticks[:-1]] + [f"> {_LAST_BAR}"])
    axes.set(xlabel="matched anchors per object, M", ylabel="objects")
    axes.set_title(f"Matches per object ({data['num_objects']:,} objects)")
    axes.legend(title="size (objects)")


def _matches_by_size(axes: Axes, data: Mapping[str, Any]) -> None:
    names = [n for n in SIZE_NAMES if sum(data["ranges"][n].values())]
    left = [0.0] * len(names)
    for index, label in enumerate(data["ranges"][SIZE_NAMES[0]]):
        counts = [data["ranges"][name][label] for name in names]
        totals = [sum(data["ranges"][name].values()) for name in names]
        widths = [100 * c / t for c, t in zip(counts, totals, strict=True)]
        bars = axes.barh(names, widths, left=left, color=_RANGE_COLORS[index], label=f"M {label}")
        texts = [f"{w:.0f} %" if w >= 5 else "" for w in widths]
        axes.bar_label(bars, texts, label_type="center", color="white" if index < 2 else "black")
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(names, [f"{n}\n{sum(data['ranges'][n].values()):,}" for n in names])
    axes.invert_yaxis()
    axes.set(xlabel="share of the size's objects (%)", ylabel="size, objects", xlim=(0, 100))
    axes.set_title("Matched anchors per object, M, by object size")
    axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)


def _weight_shares(axes: Axes, data: Mapping[str, Any]) -> None:
    shares = data["weight_shares"]
    total = sum(shares["objects"].values())
    rows = {"objects": {name: n / total for name, n in shares["objects"].items()}}
    # "uniform" has the shares of stock.
    rows |= {f: shares[f]["share"] for f in shares if f not in ("objects", "uniform")}
    left = [0.0] * len(rows)
    labels = [_FORM_LABELS.get(name, name) for name in rows]
    for size in SIZE_NAMES:
        widths = [100 * row[size] for row in rows.values()]
        bars = axes.barh(labels, widths, left=left, color=SIZE_COLORS[size], label=size)
        texts = [f"{w:.1f}" if w >= 4 else "" for w in widths]
        axes.bar_label(bars, texts, label_type="center", color="black", fontsize=9)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="share of the positive weight, sum of W × M (%)", xlim=(0, 100))
    axes.set_title("What each size carries of the positive loss weight")
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)


def _levels(axes: Axes, data: Mapping[str, Any]) -> None:
    levels = list(data["matches_by_level"])
    bottom = [0] * len(levels)
    for size in SIZE_NAMES:
        heights = [data["matches_by_level"][level][size] for level in levels]
        axes.bar(levels, heights, bottom=bottom, color=SIZE_COLORS[size], label=size)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    axes.set(xlabel="feature level, fine to coarse", ylabel="matched anchors")
    axes.set_title("Matched anchors by feature level and object size")
    axes.legend(title="object size")


def _classes(axes: Axes, data: Mapping[str, Any]) -> None:
    rows = []
    for name, histogram in data["histogram"]["by_class"].items():
        objects = sum(histogram.values())
        if objects:
            matches = sum(int(m) * n for m, n in histogram.items())
            rows.append((objects, matches / objects, name))
    shown = sorted(sorted(rows, reverse=True)[:_MAX_CLASSES], key=lambda row: row[1])
    axes.figure.set_size_inches(8.2, 2.2 + 0.24 * len(shown))
    bars = axes.barh(range(len(shown)), [mean for _, mean, _ in shown], color="#009E73")
    axes.set_yticks(range(len(shown)), [_short(name) for *_, name in shown], fontsize=8)
    axes.bar_label(bars, [f"{objects:,}" for objects, *_ in shown], fontsize=8, padding=3)
    axes.set(xlabel="mean matched anchors per object (number of objects beside the bar)")
    axes.set_ylim(-0.7, len(shown) - 0.3)
    which = f"the {len(shown)} most frequent of {len(rows)}" if len(shown) < len(rows) else "all"
    axes.set_title(f"Mean matches by class ({which})")


def _best_iou(axes: Axes, data: Mapping[str, Any]) -> None:
    edges, bottom = data["best_iou"]["bin_edges"], [0] * (len(data["best_iou"]["bin_edges"]) - 1)
    for size in SIZE_NAMES:
        heights = data["best_iou"]["by_size"][size]
        axes.bar(
            edges[:-1],
            heights,
            width=edges[1],
            align="edge",
            bottom=bottom,
            color=SIZE_COLORS[size],
            label=size,
        )
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    recall = data["best_possible_recall"]
    if recall["iou"] is not None:
        axes.axvline(recall["iou"], color="black", linestyle="--", label="positive from here")
    axes.set(xlabel="best IoU of an object with any anchor", ylabel="objects", xlim=(0, 1))
    axes.set_title(f"Best possible recall at {recall['rule']}: {recall['all']:.1%}")
    axes.legend()


def _short(name: str) -> str:
    # matplotlib reads a pair of dollar signs as mathematics.
    name = name.replace("$", r"\$")
    return name if len(name) <= 24 else name[:23] + "…"


_FIGURES: dict[str, tuple[Callable[[Axes, Mapping[str, Any]], None], str]] = {
    "matches_per_object.png": (
        _matches_per_object,
        "Objects by the number of anchors they match (figure 1 of the paper).",
    ),
    "matches_by_size.png": (
        _matches_by_size,
        "The same by object size (figure 3 of the paper).",
    ),
    "matches_weight_share.png": (
        _weight_shares,
        "Positive loss weight by object size, stock and under each form of the paper's table 1 "
        "('uniform' has the shares of stock).",
    ),
    "matches_best_iou.png": (
        _best_iou,
        "How well the best anchor fits each object.",
    ),
    "matches_by_level.png": (_levels, "Where the matches are."),
    "matches_by_class.png": (_classes, "Matches by class."),
}
