"""Run the benchmarks and write a table: ``python -m benchmarks --output benchmarks/results``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from scb_d2.utils.hardware import hardware

from .harness import Ratio

_MODULES = (
    "weights",
    "assignment",
    "training",
    "bfloat16",
    "data_loading",
    "evaluation",
    "matches",
)


def main() -> None:
    """Run what is asked for on the CPU, and on a GPU where there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"))
    parser.add_argument("--only", nargs="+", choices=_MODULES, default=_MODULES)
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--quick", action="store_true", help="small cases, to see that it runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    machine = hardware() | {"load_average": os.getloadavg()[0]}
    results: dict[str, list[Ratio]] = {device: [] for device in devices}
    start = time.perf_counter()
    for device, rows in results.items():
        for name in args.only:
            measure = importlib.import_module(f"benchmarks.{name}").measure
            for row in measure(device, args.quick):
                print(_line(row), flush=True)
                rows.append(row)
    machine["minutes"] = round((time.perf_counter() - start) / 60, 1)
    found = {device: [row.as_dict() for row in rows] for device, rows in results.items()}
    args.output.mkdir(parents=True, exist_ok=True)
    page, data = args.output / "benchmarks.md", args.output / "benchmarks.json"
    page.write_text(_page(machine, results, args.quick))
    data.write_text(json.dumps({"hardware": machine, "results": found}, indent=2) + "\n")
    print(f"written: {page} and {data.name}")


def _page(machine: dict[str, Any], results: dict[str, list[Ratio]], quick: bool) -> str:
    lines = [
        "# Benchmarks",
        "",
        *["Small cases only (`--quick`): the figures mean nothing.", ""] * quick,
        f"{', '.join(f'{key} {value}' for key, value in machine.items())}.",
        "",
        "Times are medians of wall-clock time. Each ratio is the median over pairs run in turn in",
        "one process, with its 95 % bootstrap interval; counts and memory are one pair.",
        "Waits of the host are, on the CPU, the operations that would wait for a GPU.",
        "`python -m benchmarks --output DIR` measures all of it again.",
    ]
    for device, rows in results.items():
        lines += ["", f"## {device}", "", "| measure | ours | reference | ratio | target | |"]
        lines += ["|---|---|---|---|---|---|", *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(row: Ratio) -> str:
    ours, reference = (
        f"{value:.4g} {row.unit}".strip() for value in (row.candidate, row.reference)
    )
    # Six digits: what the loss adds to a step shows in the fourth decimal.
    ratio = f"{row.ratio:.6g}"
    if row.pairs > 1:
        ratio += f" ({row.low:.6g} - {row.high:.6g}, {row.pairs} pairs)"
    goal = {
        "most": "<= {:g}",
        "interval": "interval includes or is below {:g}",
        "equal": "= {:g}",
    }[row.rule]
    target = "" if row.target is None else goal.format(row.target)
    verdict = {None: "", True: "met", False: "**missed**"}[row.met]
    return f"| {row.name} | {ours} | {reference} | {ratio} | {target} | {verdict} |"


if __name__ == "__main__":
    main()
