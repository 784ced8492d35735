"""Draw the figure of docs/results.md from results/*.json: ``python -m experiments.figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .tables import compared, load_results

__all__ = ["differences_figure", "main"]

_PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "results_differences.png"


def differences_figure(results: dict[str, dict[str, Any]]) -> Figure:
    """Differences of the primary metric with their intervals, a panel for each experiment.

    Green and red: better and worse by the experiment's verdict. Every panel has its own scale,
    since the spread over seeds differs by a factor of ten.
    """
    found = compared(results)
    heights = [len(result["comparisons"]) + 1 for result in found.values()]
    figure = Figure(
        figsize=(7.5, 0.28 * sum(heights) + 0.3 * len(found) + 0.6), layout="constrained"
    )
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (name, result) in zip(panels, found.items(), strict=True):
        pairs = result["comparisons"][::-1]
        panel.axvline(0, color="0.6", linewidth=1)
        panel.tick_params(axis="x", labelsize=8)
        for height, pair in enumerate(pairs):
            _draw(panel, height, pair["metrics"][result["primary"]])
        labels = [f"{pair['candidate']} - {pair['baseline']}" for pair in pairs]
        panel.set_yticks(range(len(pairs)), labels, fontsize=8)
        panel.set_ylim(-0.6, len(pairs) - 0.4)
        title = f"{name}, {len(result['seeds'])} seeds: {result['primary']}"
        panel.set_title(title, fontsize=9, loc="left")
    figure.supxlabel(
        "difference in points, 95 % interval; blue: no difference shown; scales differ", fontsize=9
    )
    return figure


def _draw(panel: Axes, height: int, row: dict[str, Any]) -> None:
    shown = row["verdict"].startswith("candidate")
    colour = ("C2" if row["difference"] > 0 else "C3") if shown else "C0"
    if row["interval"] is not None:
        panel.plot(row["interval"], [height, height], color=colour, linewidth=2)
    panel.plot(row["difference"], height, "o", color=colour, markersize=5)


def main() -> None:
    """Write the picture."""
    differences_figure(load_results()).savefig(_PICTURE, dpi=100)


if __name__ == "__main__":
    main()
