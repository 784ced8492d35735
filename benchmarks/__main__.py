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

from scb_d2.utils.files import atomic_write
from scb_d2.utils.hardware import hardware
from scb_d2.utils.revision import revision

from .harness import Ratio

_MODULES = (
    "weights",
    "assignment",
    "assignment_memory",
    "growth",
    "training",
    "crowded",
    "loss_memory",
    "bfloat16",
    "data_loading",
    "evaluation",
    "matches",
)
_WITH_FIGURES = ("growth",)
_REMARKS = {
    "evaluation": "On one thread, hotcoco too, the bootstrap on two. By itself hotcoco takes all "
    "cores: on two, recall and AP from files took 1.6 to 1.9 times its time on the clock. Reading "
    "the results is more than half of ours.",
}


def main() -> None:
    """Run what is asked for on the CPU, and on a GPU where there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"))
    parser.add_argument("--only", nargs="+", choices=_MODULES, default=_MODULES)
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--quick", action="store_true", help="small cases, to see that it runs")
    parser.add_argument(
        "--keep", action="store_true", help="what OUTPUT already holds of other measures stays"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    data, machine = args.output / "benchmarks.json", hardware()
    # Asked before anything is written, and without what this writes.
    commit = revision(but=args.output)
    found = json.loads(data.read_text())["results"] if args.keep and data.is_file() else {}
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for name in args.only:
            load, start = os.getloadavg()[0], time.perf_counter()
            rows = []
            measure = importlib.import_module(f"benchmarks.{name}").measure
            folder = (args.output,) if name in _WITH_FIGURES else ()
            for row in measure(device, args.quick, *folder):
                print(_line(row), flush=True)
                rows.append(row.as_dict())
            minutes = (time.perf_counter() - start) / 60
            about = {"load_average": round(load, 1), "minutes": round(minutes, 1)}
            about |= {"commit": commit, "rows": rows}
            found.setdefault(device, {})[name] = about
            # After every part: of a run that is broken off, `--keep` finds those that are whole.
            with atomic_write(str(data), "w") as file:
                file.write(json.dumps({"hardware": machine, "results": found}, indent=2) + "\n")
            page = _page(machine, found, args.quick)
            with atomic_write(str(args.output / "benchmarks.md"), "w") as file:
                file.write(page)
    print(f"written: {args.output / 'benchmarks.md'} and {data.name}")


def _page(machine: dict[str, Any], found: dict[str, dict[str, Any]], quick: bool) -> str:
    lines = [
        "# Benchmarks",
        "",
        *["Small cases only (`--quick`): the figures mean nothing.", ""] * quick,
        f"{', '.join(f'{key} {value}' for key, value in machine.items())}.",
        "",
        "Times are medians of wall-clock time. Each ratio is the median over pairs run in turn in",
        "one process, with its 95 % bootstrap interval; counts and memory are one pair.",
        "Waits of the host are, on the CPU, the operations that would wait for a GPU.",
        "The load is that of the machine just before, from a run's second part on with this run's",
        "own of about 1: where other work shared it, times are too long, and a ratio to another",
        "program holds while one to a limit in seconds is too high.",
        "Parts may be of different runs (`--keep`, which a run that broke off goes on with): each",
        "names its commit.",
        "`python -m benchmarks --output DIR` measures all of it again, `--only NAME` a part.",
    ]
    for device in ("cpu", "cuda"):
        lines += ["", f"## {device}"]
        if device not in found:
            lines += ["", "Not run: there was no GPU."]
        for name in _MODULES:
            part = found.get(device, {}).get(name)
            if part and part["rows"]:
                lines += ["", f"### {name}", "", f"{_circumstances(part)}.", ""]
                lines += ["| measure | ours | reference | ratio | target | |"]
                lines += ["|---|---|---|---|---|---|"]
                lines += [_line(_row(row)) for row in part["rows"]]
                lines += ["", _REMARKS[name]] if name in _REMARKS else []
    return "\n".join(lines) + "\n"


def _circumstances(part: dict[str, Any]) -> str:
    said = [f"Load {part['load_average']}", f"commit {str(part['commit'])[:10]}"]
    return ", ".join(said + [f"{part['minutes']} minutes"] * (part["minutes"] is not None))


def _row(values: dict[str, Any]) -> Ratio:
    return Ratio(**{key: value for key, value in values.items() if key != "met"})


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
