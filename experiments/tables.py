"""Write the tables of docs/results.md from results/*.json: ``python -m experiments.tables``.

A table stands between ``<!-- table NAME KIND -->`` and ``<!-- end -->``; what is between them is
replaced, the text around them is kept. A plan without results is marked "not run".
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

__all__ = ["EQUAL_FP", "fill", "load_results", "main"]

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs" / "results.md"
_BLOCK = re.compile(r"(<!-- table (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

_THRESHOLDS = ("0.01", "0.1", "0.3")
_SIZES = {"s": "small", "m": "medium", "l": "large"}
EQUAL_FP = "recall_small_fp=baseline@0.1"
_AS_PUBLISHED = ("scb", "first")  # the arms with the loss's defaults


def load_results(folder: Path = _HERE / "results") -> dict[str, dict[str, Any]]:
    """What the JSON files of a folder hold, by the name of the file."""
    return {
        path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))
    }


def fill(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with all of its tables written anew."""

    def table(match: re.Match[str]) -> str:
        begin, name, kind, end = match.groups()
        found = results.get(name)
        if found is None:
            text = "Not run."
        elif kind in _OF_ALL:
            text = _OF_ALL[kind](found, results)
        else:
            text = _OF_ONE[kind](found)
        return f"{begin}{text}\n{end}"

    return _BLOCK.sub(table, page)


def main() -> None:
    """Write the tables into docs/results.md."""
    _PAGE.write_text(fill(_PAGE.read_text("utf-8"), load_results()), encoding="utf-8")


def _about(found: dict[str, Any]) -> str:
    took = [minutes for arm in found["arms"].values() for minutes in arm["minutes"]]
    known = [minutes for minutes in took if minutes is not None]
    threads = found["hardware"]["torch_threads"]
    machine = found["hardware"].get("gpu") or found["hardware"]["processor"]
    minutes = f", {sum(known):.0f} minutes for {len(known)} runs" if known else ""
    return (
        f"`{found['command']}`: {found['iterations']:,} iterations of "
        f"{found['images_per_batch']} images, learning rate {found['base_lr']:g}, seeds "
        f"{', '.join(map(str, found['seeds']))}; {found['test_images']} test images with "
        f"{found['test_objects']:,} objects; {machine}, {threads} thread{'s'[: threads != 1]}"
        f"{minutes}."
    )


def _arms(found: dict[str, Any]) -> str:
    first = next(iter(found["arms"].values()))["metrics"]
    sizes = [s for s in _SIZES if _known(first.get(f"AP{s}"))]
    columns = ["AP", *(f"AP{s}" for s in sizes)]
    smallest = _SIZES[sizes[0]]
    columns += [f"recall_{smallest}_{threshold}" for threshold in _THRESHOLDS]
    columns += ["precision_0.1", "fp_per_image_0.1", f"recall_{smallest}_fp1"]
    rows = [
        [arm, *(_mean(values["metrics"][column], column) for column in columns)]
        for arm, values in found["arms"].items()
    ]
    return _table(["arm", *map(_title, columns)], rows)


def _recall(found: dict[str, Any]) -> str:
    first = next(iter(found["arms"].values()))["metrics"]
    sizes = [size for s, size in _SIZES.items() if _known(first.get(f"AP{s}"))]
    rows = []
    for arm, values in found["arms"].items():
        for threshold in _THRESHOLDS:
            cells = [f"recall_{size}_{threshold}" for size in sizes]
            cells += [f"precision_{threshold}", f"fp_per_image_{threshold}"]
            rows.append([arm, threshold, *(_mean(values["metrics"][c], c) for c in cells)])
    titles = ["arm", "score from", *(f"recall {size}" for size in sizes)]
    return _table([*titles, "precision", "false positives per image"], rows)


def _differences(found: dict[str, Any]) -> str:
    rows = []
    for pair in found["comparisons"]:
        metrics = pair["metrics"]
        sizes = [s for s in _SIZES if _known_row(metrics[f"AP{s}"])]
        shown = [found["primary"], "AP", *(f"AP{s}" for s in sizes)]
        shown += [f"recall_{_SIZES[sizes[0]]}_{where}" for where in ("fp1", "fp=baseline@0.1")]
        for metric in dict.fromkeys(shown):
            row = metrics[metric]
            adjusted = row["adjusted_p"]
            rows.append(
                [
                    f"{pair['candidate']} - {pair['baseline']}",
                    _title(metric) + (" (primary)" if metric == found["primary"] else ""),
                    f"{row['difference']:+.2f}",
                    _interval(row["interval"]),
                    _p(row["p_value"]),
                    "" if adjusted is None else _p(adjusted),
                    row["verdict"],
                ]
            )
    titles = ["arms", "metric", "difference", "95 % interval", "p", "p (Holm)", "verdict"]
    return _table(titles, rows)


def _imbalance(reports: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """A row for every plan that has results."""
    rows = [
        [
            plan,
            f"{report['ratio']:.2f}",
            f"{report['weighted_ratio']:.2f}",
            f"{report['small_share_stock']:.1f} -> {report['small_share_scb']:.1f}",
            report["level"],
            *(
                _gain(results[plan], baseline, metric)
                for metric in ("APs", EQUAL_FP)
                for baseline in ("stock", "uniform_mean")
            ),
        ]
        for plan, report in reports.items()
        if plan in results
    ]
    titles = ["plan", "matches, large : small", "under SCB", "small objects' share of weight, %"]
    gains = [
        f"{metric}, scb - {baseline}"
        for metric in ("AP_S", "recall small")
        for baseline in ("stock", "uniform_mean")
    ]
    return _table([*titles, "verdict", *gains], rows)


def _recipes(costs: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            f"`{recipe}`",
            f"{cost['iterations']:,}",
            f"{cost['runs']}",
            f"{cost['hours_per_run']:.1f}",
            f"{cost['gb_per_gpu']:.1f}",
            "yes" if recipe in results else "not run",
        ]
        for recipe, cost in costs.items()
    ]
    titles = ["recipe", "iterations", "runs", "hours a run, 8 V100", "GB a GPU", "results"]
    return _table(titles, rows)


_OF_ONE = {
    "about": _about,
    "arms": _arms,
    "recall": _recall,
    "differences": _differences,
}
_OF_ALL = {"imbalance": _imbalance, "recipes": _recipes}


def _gain(found: dict[str, Any], baseline: str, metric: str) -> str:
    for pair in found["comparisons"]:
        if pair["baseline"] == baseline and pair["candidate"] in _AS_PUBLISHED:
            row = pair["metrics"][metric]
            return f"{row['difference']:+.2f} {_interval(row['interval'])}"
    return "not run"


def _known(values: dict[str, float] | None) -> bool:
    return bool(values) and all(value is not None for value in values.values())


def _known_row(row: dict[str, Any]) -> bool:
    return row["difference"] is not None


def _mean(values: dict[str, float], metric: str) -> str:
    numbers = list(values.values())
    mean = statistics.fmean(numbers)
    spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
    digits = 2 if metric.startswith("fp_per_image") else 1
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _title(metric: str) -> str:
    named = re.fullmatch(r"AP([sml])", metric)
    if named:
        return f"AP_{named[1].upper()}"
    recall = re.fullmatch(r"recall_(\w+?)_(.+)", metric)
    if recall:
        size, where = recall.groups()
        if where.startswith("fp=baseline"):
            return f"recall {size} at the false positives of the baseline's score {where[12:]}"
        if where.startswith("fp"):
            return f"recall {size} at {where[2:]} false positive per image"
        return f"recall {size} from {where}"
    return {"precision_0.1": "precision from 0.1", "fp_per_image_0.1": "FP per image from 0.1"}.get(
        metric, metric
    )


def _interval(pair: list[float] | None) -> str:
    return "" if pair is None else f"[{pair[0]:+.2f}, {pair[1]:+.2f}]"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
