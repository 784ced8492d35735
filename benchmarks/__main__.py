"""Run the benchmarks and write a table: ``python -m benchmarks --output benchmarks/results``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path

import torch

from scb_d2.hardware import hardware

from .harness import Ratio

_MODULES = ("weights", "assignment", "training", "data_loading", "evaluation", "matches")


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
    found = {"hardware": hardware() | {"load_average": os.getloadavg()[0]}, "results": {}}
    for device in devices:
        for name in args.only:
            measure = importlib.import_module(f"benchmarks.{name}").measure
            for row in measure(device, args.quick):
                print(_line(row), flush=True)
                found["results"].setdefault(device, []).append(row.as_dict())
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "benchmarks.json").write_text(json.dumps(found, indent=2) + "\n")
    (args.output / "benchmarks.md").write_text(_page(found))
    print(f"written: {args.output / 'benchmarks.md'} and benchmarks.json")


def _page(found: dict) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in found["hardware"].items())
    lines = [
        "# Benchmarks",
        "",
        f"{machine}. Each ratio is the median over pairs run in turn in one process, with its 95 % "
        "bootstrap interval.",
    ]
    for device, rows in found["results"].items():
        lines += ["", f"## {device}", "", "| measure | ours | reference | ratio (95 %) | target |"]
        lines += ["|---|---|---|---|---|", *(_line(Ratio(**row)) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(row: Ratio) -> str:
    target = "" if row.target is None else f"<= {row.target:g}"
    return (
        f"| {row.name} | {row.candidate:.4g} {row.unit} | {row.reference:.4g} {row.unit} "
        f"| {row.ratio:.4f} ({row.low:.4f} - {row.high:.4f}, {row.pairs} pairs) | {target} |"
    )


if __name__ == "__main__":
    main()
