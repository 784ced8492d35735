"""The final table of metrics, on the screen and as JSON."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from scb_d2.utils.files import atomic_write
from scb_d2.utils.plain_json import to_json

__all__ = ["RESULTS_FILE", "report_results"]

RESULTS_FILE = "results.json"

logger = logging.getLogger(__name__)


def report_results(results: Mapping[str, Mapping[str, Any]], output_dir: str) -> None:
    """Log the metrics of an evaluation as a table and save them in ``results.json``.

    Args:
        results: data set -> task ("bbox", "segm", ...) -> metric -> value in percent. A value that
            cannot be computed is ``nan`` and saved as null.
        output_dir: folder for the file.
    """
    path = os.path.join(output_dir, RESULTS_FILE)
    os.makedirs(output_dir, exist_ok=True)
    with atomic_write(path, encoding="utf-8") as file:
        file.write(to_json(results))
    logger.info("Results, also in %s:\n%s", path, _table(results))


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for dataset, tasks in results.items():
        for task, metrics in tasks.items():
            # Recall by size prints a table of its own, with its rules.
            if isinstance(metrics, Mapping) and task != "recall":
                overall = {name: v for name, v in metrics.items() if not name.startswith("AP-")}
                rows.append({"data set": dataset, "task": task, **overall})
    return tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=".2f", missingval="")
