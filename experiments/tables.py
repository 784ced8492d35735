"""Write the tables of docs/results.md from results/*.json: ``python -m experiments.tables``.

A table stands between ``<!-- table NAME KIND -->`` and ``<!-- end -->``; what is between them is
replaced, the text around them is kept. A plan without results is marked "not run".
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scb_d2.compare.intervals import paired_t

__all__ = ["compared", "fill", "load_results", "main"]

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs" / "results.md"
_BLOCK = re.compile(r"(<!-- table (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

_SIZES = {"small": "S", "medium": "M", "large": "L"}
_AS_PUBLISHED = ("scb", "first")  # the arms with the loss's defaults


def load_results(folder: Path = _HERE / "results") -> dict[str, dict[str, Any]]:
    """What the JSON files of a folder hold, by the name of the file."""
    return {
        path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))
    }


def compared(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The experiments that compare arms; those of one seed, which choose a rate, do not."""
    return {name: found for name, found in results.items() if len(found.get("seeds", ())) > 1}


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
    commit = f", commit {found['commit'][:10]}" if found.get("commit") else ""
    again = " Judged again from the values of the runs." if found.get("judged_again") else ""
    return (
        f"`{found['command']}`: {found['iterations']:,} iterations of "
        f"{found['images_per_batch']} images, seeds {', '.join(map(str, found['seeds']))}; "
        f"{found['test_images']} test images with {found['test_objects']:,} objects; {machine}, "
        f"{threads} thread{'s'[: threads != 1]}{minutes}{commit}.{again}"
    )


def _results(found: dict[str, Any]) -> str:
    """Arms with their means, then differences: the one table of an experiment."""
    first = found["comparisons"][0]["metrics"]
    shown = [name for name, row in first.items() if _is_shown(name, row, found)]
    rates = [_rate(found, arm) for arm in found["arms"]]
    rows = [
        [arm, rate, *(_mean(values["metrics"].get(metric)) for metric in shown), "", ""]
        for (arm, values), rate in zip(found["arms"].items(), rates, strict=True)
    ]
    for pair in found["comparisons"]:
        row = pair["metrics"][found["primary"]]
        names = [pair["baseline"], pair["candidate"]]
        confirmatory = names == found["confirmatory"]
        rows.append(
            [
                f"{names[1]} - {names[0]}{' (confirmatory)' if confirmatory else ''}",
                "",
                *(_difference(pair["metrics"].get(metric)) for metric in shown),
                "" if row["detectable"] is None else f"{row['detectable']:.1f}",
                _verdict(row),
            ]
        )
    titles = [_title(first[metric]) for metric in shown]
    titles[0] += " (primary)"
    return _table(["", "rate", *titles, "could have been seen", "verdict (primary)"], rows)


def _is_shown(name: str, row: dict[str, Any], found: dict[str, Any]) -> bool:
    if row["difference"] is None:
        return False
    small = row["family"] == "recall" and row["size"] == "small"
    return name == found["primary"] or row["family"] == "AP" or small


def _rate(found: dict[str, Any], arm: str) -> str:
    return str(found["arms"][arm]["overrides"].get("SOLVER.BASE_LR", f"{found['base_lr']:g}"))


def _imbalance(reports: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """A row for every plan that has results."""
    rows = [
        [
            plan,
            f"{report['ratio']:.2f}",
            f"{report['weighted_ratio']:.2f}",
            f"{report['small_share_stock']:.1f} -> {report['small_share_scb']:.1f}",
            report["level"],
            *(_gain(results[plan], baseline) for baseline in ("stock", "uniform")),
        ]
        for plan, report in reports.items()
        if plan in results
    ]
    titles = ["plan", "matches, large : small", "under SCB", "small objects' share of weight, %"]
    gains = [f"AP_S, scb - {baseline}" for baseline in ("stock", "uniform")]
    return _table([*titles, "match report", *gains], rows)


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


def _clipping(plans: dict[str, Any]) -> str:
    rows = [
        [
            plan,
            arm,
            f"{row['iterations']}",
            f"{row['iterations_clipped']:.0f}",
            f"{row['gradients_clipped']:.2f}",
        ]
        for plan, arms in plans.items()
        for arm, row in arms.items()
        if row is not None
    ]
    titles = ["plan", "arm", "first iterations", "iterations that clip, %", "gradients clipped, %"]
    return _table(titles, rows)


def _rates(found: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """AP on the validation part by arm and rate, the best in bold; `<name>_low` and `_high` too."""
    name = next(name for name, other in results.items() if other is found)
    table: dict[str, dict[float, float]] = {}
    plans = [results[other] for other in (name, f"{name}_low", f"{name}_high") if other in results]
    for plan in plans:
        for arm, values in plan["arms"].items():
            rate = float(values["overrides"]["SOLVER.BASE_LR"])
            mean = statistics.fmean(values["metrics"]["AP"].values())
            table.setdefault(arm.rpartition("_")[0], {})[rate] = mean
    rates = sorted({rate for by_rate in table.values() for rate in by_rate})
    rows = []
    for arm, by_rate in table.items():
        best = max(by_rate, key=lambda rate: by_rate[rate])
        cells = {rate: f"{mean:.1f}" for rate, mean in by_rate.items()}
        cells[best] = f"**{cells[best]}**"
        rows.append([arm, *(cells.get(rate, "") for rate in rates)])
    return _table(["AP at rate", *(f"{rate:g}" for rate in rates)], rows)


def _curves(found: dict[str, Any]) -> str:
    """A metric over iterations: arms with mean and spread, then differences from the first arm."""
    curves = {arm: list(zip(*runs.values(), strict=True)) for arm, runs in found["arms"].items()}
    first, *others = curves
    rows = [
        [arm, *(f"{statistics.fmean(at):.1f} ± {statistics.stdev(at):.1f}" for at in curve)]
        for arm, curve in curves.items()
    ]
    for arm in others:
        pairs = zip(curves[first], curves[arm], strict=True)
        rows.append([f"{arm} - {first}", *(_paired(*pair) for pair in pairs)])
    return _table([f"{found['metric']} at iteration", *map(str, found["iterations"])], rows)


def _paired(baseline: Sequence[float], candidate: Sequence[float]) -> str:
    differences = [b - a for a, b in zip(baseline, candidate, strict=True)]
    interval, _ = paired_t(differences, 0.95)
    return _difference({"difference": statistics.fmean(differences), "interval": interval})


_OF_ONE = {"about": _about, "results": _results, "clipping": _clipping, "curves": _curves}
_OF_ALL = {"imbalance": _imbalance, "recipes": _recipes, "rates": _rates}


def _gain(found: dict[str, Any], baseline: str) -> str:
    for pair in found["comparisons"]:
        if pair["baseline"] == baseline and pair["candidate"] in _AS_PUBLISHED:
            return _difference(pair["metrics"]["APs"])
    return "not run"


def _mean(values: dict[str, float] | None) -> str:
    if not values:
        return ""
    numbers = list(values.values())
    spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
    return f"{statistics.fmean(numbers):.1f} ± {spread:.1f}"


def _difference(row: dict[str, Any] | None) -> str:
    if row is None or row["difference"] is None:
        return ""
    interval = row["interval"]
    spelt = "" if interval is None else f" [{interval[0]:+.2f}, {interval[1]:+.2f}]"
    return f"{row['difference']:+.2f}{spelt}"


def _verdict(row: dict[str, Any]) -> str:
    p_value, adjusted = row["p_value"], row["adjusted_p"]
    if p_value is None:
        return row["verdict"]
    holm = "" if adjusted is None else f", Holm {_p(adjusted)}"
    return f"{row['verdict']} (p {_p(p_value)}{holm})"


def _title(row: dict[str, Any]) -> str:
    size = row["size"]
    if row["family"] != "recall":
        return row["family"] if size == "all" else f"{row['family']}_{_SIZES.get(size, size)}"
    return f"recall {size} at {row['operating_point']}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
