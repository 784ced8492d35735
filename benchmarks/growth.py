"""How time and memory of labelling grow with objects and anchors, as a figure and its slopes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .assignment import ours, stock
from .harness import Ratio, allocated_mb, extra_peak_mb, from_pairs, printed_by, seconds
from .scenes import anchors_of, objects

_PATHS = {"scb_d2": ours, "Detectron2": stock}
_OBJECTS, _ANCHORS = [3, 10, 30, 100, 300], [12_500, 25_000, 50_000, 100_000, 200_000]
_FIXED = {"objects": 100_000, "anchors": 100}  # anchors over objects, objects over anchors
_STEEP = 3  # points at the end of a curve that its slope is taken from


def measure(device: str, quick: bool, output: Path) -> Iterator[Ratio]:
    """Slopes on log axes of ours against stock's, and ``growth_<device>.png``.

    Args:
        device: where.
        quick: few and small cases.
        output: folder of the figure.
    """
    cases = {
        "objects": [
            (n, 10_000 if quick else _FIXED["objects"]) for n in _OBJECTS[: 4 if quick else None]
        ],
        "anchors": [(_FIXED["anchors"], n) for n in _ANCHORS[: 3 if quick else None]],
    }
    found = {axis: _measured(points, device) for axis, points in cases.items()}
    _draw(cases, found, output / f"growth_{device}.png")
    for axis, points in cases.items():
        sizes = [point[axis == "anchors"] for point in points]
        fixed = points[0][axis == "objects"]
        other = f"{fixed} {'anchors' if axis == 'objects' else 'objects'}"
        for what, curves in found[axis].items():
            slopes = [_slope(sizes, curves[name]) for name in _PATHS]
            name = f"exponent of the {what} of labelling over {axis}, {other}"
            yield from_pairs(name, [tuple(slopes)], "")


def _measured(points: list[tuple[int, int]], device: str) -> dict[str, dict[str, list[float]]]:
    """Seconds and MB of each point, by path."""
    out: dict[str, dict[str, list[float]]] = {"time": {}, "memory": {}}
    for name, path in _PATHS.items():
        times = []
        for num_objects, num_anchors in points:
            call = partial(
                path, objects(num_objects).to(device), anchors_of(num_anchors).to(device)
            )
            once = seconds(call, device)
            times.append(once if once > 1 else min(seconds(call, device) for _ in range(3)))
        out["time"][name] = times
        if device != "cpu":
            out["memory"][name] = [
                allocated_mb(partial(path, objects(g).to(device), anchors_of(a).to(device)))
                for g, a in points
            ]
        else:
            out["memory"][name] = _fresh_memory(name, points)
    return out


def _fresh_memory(name: str, points: list[tuple[int, int]]) -> list[float]:
    """Extra peak MB of each point, in one fresh process (Linux)."""
    code = f"from benchmarks.growth import print_peaks; print_peaks({name!r}, {points!r})"
    return json.loads(printed_by(code))


def print_peaks(name: str, points: list[tuple[int, int]]) -> None:
    """Print the extra peak MB of each point as JSON; for a process of its own."""
    peaks = [
        extra_peak_mb(partial(_PATHS[name], objects(num_objects), anchors_of(num_anchors)))
        for num_objects, num_anchors in points
    ]
    print(json.dumps([max(peak, 0.1) for peak in peaks]))


def _slope(sizes: list[int], values: list[float]) -> float:
    x, y = np.log(sizes[-_STEEP:]), np.log(values[-_STEEP:])
    return float(np.polyfit(x, y, 1)[0])


def _draw(cases: dict[str, Any], found: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col")
    units = {"time": "seconds", "memory": "MB"}
    for column, (axis, points) in enumerate(cases.items()):
        sizes = [point[axis == "anchors"] for point in points]
        fixed = points[0][axis == "objects"]
        other = f"{fixed:,} {'anchors' if axis == 'objects' else 'objects'}"
        for row, (what, unit) in enumerate(units.items()):
            ax = axes[row, column]
            for (name, values), mark in zip(found[axis][what].items(), "os", strict=True):
                label = f"{name}: slope {_slope(sizes, values):.2f}"
                ax.loglog(sizes, values, marker=mark, label=label)
            ax.set_ylabel(f"{what} of labelling, {unit}")
            ax.grid(True, which="both", alpha=0.25)
            ax.legend(frameon=False)
            if row == 0:
                ax.set_title(other)
            else:
                ax.set_xlabel(axis)
                ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
                ax.set_xticks([], minor=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
