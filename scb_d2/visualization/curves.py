"""Loss curves and match statistics of a training run."""

import json
import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scb_d2.errors import DataError
from scb_d2.utils.files import atomic_write
from scb_d2.utils.size_groups import SIZE_NAMES

from .palette import INK, SERIES

__all__ = ["read_metrics", "write_training_curves"]

_SIZE_LABELS = ("small: below 32² px", "medium: 32² to 96² px", "large: from 96² px")


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read Detectron2's ``metrics.json``, one JSON object per line.

    Where an iteration occurs twice, as after a resume, the later line counts.

    Returns:
        The lines in the order of their iteration.

    Raises:
        DataError: if the file is missing or holds no metrics.
    """
    lines: dict[int, dict[str, float]] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except json.JSONDecodeError:
                    continue  # the last line of a killed run
                lines[line["iteration"]] = {**lines.get(line["iteration"], {}), **line}
    except OSError as error:
        raise DataError(f"cannot read the metrics {path}: {error.strerror}.") from None
    if not lines:
        raise DataError(f"{path} holds no metrics.")
    return [lines[iteration] for iteration in sorted(lines)]


def write_training_curves(
    path: str | os.PathLike[str],
    metrics_path: str | os.PathLike[str],
    title: str,
    stage: str = "first",
) -> None:
    """Write losses and, where the scale-balanced loss is on, its statistics as one PNG.

    Args:
        path: the file.
        metrics_path: a run's ``metrics.json``.
        title: the line above all.
        stage: whose ``scb/<stage>/...`` statistics are shown.
    """
    metrics = read_metrics(metrics_path)
    prefix = f"scb/{stage}/"
    weighted = any(f"{prefix}matches_p50" in line for line in metrics)
    panels = 3 if weighted else 1
    figure = Figure(figsize=(4.6 * panels, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_losses(axes[0], metrics)
    if weighted:
        _draw_matches(axes[1], metrics, prefix)
        _draw_shares(axes[2], metrics, prefix)
    for axis in axes:
        axis.set_xlabel("iteration")
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
        axis.set_xlim(0, metrics[-1]["iteration"] + 1)
    figure.suptitle(title, color=INK, fontsize=12)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=110)


def _series(metrics: Sequence[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(line["iteration"], line[key]) for line in metrics if line.get(key) is not None]
    return tuple(np.array(points, dtype=float).reshape(-1, 2).T)


def _draw_losses(axis: Axes, metrics: Sequence[dict[str, float]]) -> None:
    names = sorted({key for line in metrics for key in line if key.startswith("loss_")})
    for name, colour in zip(["total_loss", *names[:4]], (INK, *SERIES), strict=False):
        x, y = _series(metrics, name)
        axis.plot(x, y, color=colour, lw=2 if name == "total_loss" else 1.4, label=name)
    axis.set(title="training losses (median of 20 iterations)", ylabel="loss (no unit)")
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False, fontsize=9)


def _draw_matches(axis: Axes, metrics: Sequence[dict[str, float]], prefix: str) -> None:
    x, middle = _series(metrics, f"{prefix}matches_p50")
    low, high = (_series(metrics, f"{prefix}matches_{p}")[1] for p in ("p10", "p90"))
    axis.fill_between(x, low, high, color=SERIES[0], alpha=0.2, lw=0, label="10th to 90th")
    axis.plot(x, middle, color=SERIES[0], lw=2, label="median")
    axis.set_ylim(0, 1.2 * max(*high, 1.0))
    axis.set(title="matched anchors M per object (percentiles)", ylabel="anchors per object")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="upper center", ncols=2, frameon=False, fontsize=9)


def _draw_shares(axis: Axes, metrics: Sequence[dict[str, float]], prefix: str) -> None:
    keys = [f"{prefix}loss_share_input_{size}" for size in SIZE_NAMES]
    x = _series(metrics, keys[0])[0]
    shares = [100 * _series(metrics, key)[1] for key in keys]
    shown = [i for i, share in enumerate(shares) if share.any()]
    axis.stackplot(
        x,
        [shares[i] for i in shown],
        colors=[SERIES[i] for i in shown],
        labels=[_SIZE_LABELS[i] for i in shown],
        alpha=0.75,
    )
    axis.set(
        title="positive loss by object size (box area in input pixels)",
        ylabel="share of the loss (%)",
        ylim=(0, 100),
    )
    # Below the axis: within it a legend would hide the share of some size.
    axis.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1,
        columnspacing=1,
    )
