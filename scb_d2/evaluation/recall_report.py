"""Recall by size as a table and as a figure, both from the same dictionary."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from tabulate import tabulate

from scb_d2.visualization.palette import SERIES

__all__ = ["recall_figure", "recall_markdown", "recall_table"]


def recall_table(result: dict[str, Any]) -> str:
    """Recall per size and score threshold in Markdown, counts as in the paper's table 3.

    Args:
        result: from :func:`scb_d2.evaluation.recall.evaluate_recall`.
    """
    objects = result["objects"]
    names = [name for name in objects if name != "all"] + ["all"]

    def sizes(row: dict[str, Any]) -> list[str]:
        return [f"{row['recall'][n]:.2f} ({row['hits'][n]}/{objects[n]})" for n in names]

    def price(row: dict[str, Any]) -> str:
        return " / ".join(f"{row['fp_per_image'][n]:.3g}" for n in names)

    rows = [
        [f"score ≥ {row['threshold']:g}", *sizes(row), f"{row['precision']:.2f}", price(row)]
        for row in result["thresholds"]
    ]
    rows += [
        [f"≤ {row['limit']:g} FP/image of the size", *sizes(row), "-", price(row)]
        for row in result["equal_false_positives"]
    ]
    headers = [
        "detections kept",
        *(f"recall {name} %" for name in names),
        "precision %",
        f"FP/image, {' / '.join(names)}",
    ]
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)


def recall_markdown(result: dict[str, Any], title: str) -> str:
    """A page: the rules, the table of :func:`recall_table`, AP and AR."""
    rules = result["rules"]
    bins = "; ".join(f"{name}: {limits}" for name, limits in rules["bins"].items())
    metrics = result["metrics"]
    lines = [
        f"# Recall by object size: {title}",
        "",
        recall_table(result),
        "",
        tabulate(
            [[f"{value:.2f}" for value in metrics.values()]],
            headers=[*metrics],
            tablefmt="pipe",
            disable_numparse=True,
        ),
        "",
        f"- {result['num_images']} images, {result['objects']['all']} objects, "
        f"{result['ignored_objects']} crowd or difficult left out, "
        f"{result['num_detections']} detections.",
        f"- Match: {rules['match']}; IoU ≥ {rules['iou']:g}.",
        f"- Size: {rules['size']}; {bins}. A false positive (FP) is of the size of its own box; "
        "precision is overall.",
        f"- Equal false positives: {rules['equal false positives']}.",
        "- AP and AR: COCO's rules, IoU 0.50:0.95, 100 detections per image and class; an object "
        "on a size limit counts on both sides of it, as in COCO's code.",
        "",
    ]
    return "\n".join(lines)


def recall_figure(result: dict[str, Any], title: str) -> Figure:
    """Bars of recall per size, one group per row of the table.

    Args:
        result: from :func:`scb_d2.evaluation.recall.evaluate_recall`.
        title: what was evaluated.
    """
    rules, objects = result["rules"], result["objects"]
    names = [name for name in objects if name != "all"]
    rows = [(f"score ≥ {row['threshold']:g}", row) for row in result["thresholds"]]
    rows += [(f"≤ {row['limit']:g}\nFP/image", row) for row in result["equal_false_positives"]]
    figure = Figure(figsize=(max(7.0, 0.52 * len(rows) * len(names)), 5.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [place - 0.4 + width * (number + 0.5) for place in range(len(rows))]
        # No objects of a size: recall is not defined, and nothing is drawn.
        values = [row["recall"][name] for _, row in rows]
        bars = axes.bar(
            places,
            values,
            width=width * 0.92,
            color=SERIES[number % len(SERIES)],
            label=f"{name} ({rules['bins'][name]}; {objects[name]} objects)",
        )
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=1)
    axes.set_xticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(f"recall (%), IoU ≥ {rules['iou']:g}")
    axes.set_xlabel("detections kept")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{title}\nsize rule {rules['size']}", fontsize=10)
    figure.legend(loc="outside lower center", ncols=min(len(names), 3), fontsize=8, frameon=False)
    return figure
