"""Draw the figure of docs/results.md from results/*.json: ``python -m experiments.figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .tables import load_results

__all__ = ["differences_figure", "main"]

_PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "results_differences.png"


def differences_figure(results: dict[str, dict[str, Any]]) -> Figure:
    """Differences of the primary metric with their intervals, a panel for each experiment."""
    found = {name: result for name, result in results.items() if "comparisons" in result}
    heights = [len(result["comparisons"]) + 1 for result in found.values()]
    figure = Figure(figsize=(7, 0.32 * sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False, height_ratios=heights)
    for panel, (name, result) in zip(panels[:, 0], found.items(), strict=True):
        metric = result["primary"]
        rows = [
            (f"{pair['candidate']} - {pair['baseline']}", pair["metrics"][metric])
            for pair in result["comparisons"]
        ]
        panel.axvline(0, color="0.6", linewidth=1)
        for height, (_, row) in enumerate(reversed(rows)):
            low, high = row["interval"]
            shown = row["verdict"].startswith("candidate")
            colour = ("C2" if row["difference"] > 0 else "C3") if shown else "C0"
            panel.plot([low, high], [height, height], color=colour, linewidth=2)
            panel.plot(row["difference"], height, "o", color=colour, markersize=5)
        panel.set_yticks(range(len(rows)), [label for label, _ in reversed(rows)], fontsize=8)
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.set_title(f"{name} ({len(result['seeds'])} seeds)", fontsize=9, loc="left")
    panels[-1, 0].set_xlabel(
        "difference of the primary metric, with its 95 % interval; blue: no difference shown"
    )
    return figure


def main() -> None:
    """Write the picture."""
    differences_figure(load_results()).savefig(_PICTURE, dpi=100)


if __name__ == "__main__":
    main()
