"""Find the results, data set and seed of training runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scb_d2.engine.config.safe_yaml import load_outline
from scb_d2.errors import DataError
from scb_d2.utils.nested import value_at

__all__ = ["Run", "find_run"]

RESULTS_FILE = "coco_instances_results.json"
ANNOTATIONS_FILE = "coco_annotations.json"


@dataclass(frozen=True)
class Run:
    """One training run, or one results file.

    Attributes:
        name: the path as given.
        results: COCO results.
        config: the run's `config.yaml`, empty where there is none.
        annotations: COCO annotations written beside the results, if any.
    """

    name: str
    results: Path
    config: dict[str, Any]
    annotations: Path | None

    @property
    def seed(self) -> int | None:
        """`SEED` of the config; None where it is missing or negative, which means random."""
        seed = self.config.get("SEED", (self.config.get("train") or {}).get("seed"))
        return seed if isinstance(seed, int) and seed >= 0 else None

    @property
    def dataset(self) -> str | None:
        """The data set that was evaluated on, as the config names it."""
        names = value_at(self.config, "DATASETS.TEST")
        names = names or value_at(self.config, "dataloader.test.dataset.names") or ()
        names = [names] if isinstance(names, str) else list(names)
        folder = self.results.parent.name  # where there are several, each has one of its name
        if folder in names:
            return folder
        return names[-1] if names else None

    @property
    def data_keys(self) -> dict[str, Any]:
        """What decides which data the name stands for."""
        datasets = self.config.get("DATASETS", {})
        entries = [e for e in datasets.get("REGISTER", []) if e.get("NAME") == self.dataset]
        synthetic = str(self.dataset).startswith("shapes_")
        return {
            "dataset": self.dataset,
            "entries": entries,
            "synthetic": datasets.get("SYNTHETIC") if synthetic else None,
        }


def find_run(path: str | Path, dataset: str | None = None) -> Run:
    """A run's files.

    Args:
        path: `OUTPUT_DIR` of `train_net.py`, or a COCO results file, in such a folder or not.
        dataset: the data set, where the run was evaluated on several.

    Raises:
        DataError: there is no results file, or none or several of them can be meant.
    """
    folder = Path(path)
    if folder.is_file():
        return _run(str(path), folder)
    if not folder.is_dir():
        raise DataError(f"{path}: there is no such run folder or results file.")
    found = sorted(folder.glob(f"inference/**/{RESULTS_FILE}"))
    # What a killed evaluation left of a folder in the making is hidden.
    found = [file for file in found if not file.parent.name.startswith(".")]
    if not found and (folder / RESULTS_FILE).is_file():
        found = [folder / RESULTS_FILE]
    if not found:
        raise DataError(
            f"{path}: has no inference/{RESULTS_FILE}; the run is not evaluated yet, or its data "
            "set needs TEST.RECALL.ENABLED True (PASCAL VOC)."
        )
    # What lies in a folder of its own is of that data set, whatever an older run left beside it.
    by_name: dict[str | None, Run] = {}
    for results in sorted(found, key=lambda file: -len(file.parts)):
        run = _run(str(path), results)
        by_name.setdefault(run.dataset, run)
    if dataset is None and len(by_name) == 1:
        (dataset,) = by_name
    if dataset not in by_name:
        names = ", ".join(sorted(map(str, by_name)))
        wanted = f"and not on {dataset}" if dataset else "choose one by --dataset"
        raise DataError(f"{path}: has results on {names}; {wanted}.")
    return by_name[dataset]


def _run(name: str, results: Path) -> Run:
    """The run whose results these are, by the folders that they lie in."""
    beside = results.with_name(ANNOTATIONS_FILE)
    annotations = beside if beside.is_file() else None
    for folder in results.parents[:3]:
        parts = results.parent.relative_to(folder).parts
        if parts[:1] in ((), ("inference",)) and (folder / "config.yaml").is_file():
            config = _read_config(folder / "config.yaml")
            return Run(name, results, config, annotations)
    return Run(name, results, {}, annotations)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = load_outline(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not readable YAML.") from error
    return config if isinstance(config, dict) else {}
