"""Pair the runs of two arms, and read the data set that all of them were evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from scb_d2.config import add_scb_config
from scb_d2.data.reader.catalog import ground_truth_of
from scb_d2.data.reader.detections import Detections, load_detections
from scb_d2.data.reader.ground_truth import GroundTruth, load_ground_truth
from scb_d2.data.registration import register_datasets
from scb_d2.errors import ConfigError, DataError

from .run_files import Run, find_run

__all__ = ["Arms", "load_arms", "pair_runs"]


@dataclass(frozen=True)
class Arms:
    """Two arms on one data set: k pairs of runs and their detections.

    Attributes:
        ground_truth: the objects.
        image_root: folder of the images, None where unknown.
        pairs: k pairs (baseline, candidate).
        detections: k pairs, likewise.
        seeds: k seeds, or None where runs were paired as given.
    """

    ground_truth: GroundTruth
    image_root: Path | None
    pairs: tuple[tuple[Run, Run], ...]
    detections: tuple[tuple[Detections, Detections], ...]
    seeds: tuple[int, ...] | None

    @property
    def dataset(self) -> str | None:
        """Name of the data set, where a run's config tells."""
        return next((run.dataset for pair in self.pairs for run in pair if run.dataset), None)


def pair_runs(
    baseline: Sequence[Run], candidate: Sequence[Run], by: str = "auto"
) -> tuple[list[tuple[Run, Run]], tuple[int, ...] | None]:
    """Pair the runs of two arms by seed, or as given.

    Args:
        baseline: runs of one arm.
        candidate: runs of the other.
        by: `seed`, `order`, or `auto`: by seed where every config has one.

    Returns:
        The pairs, and their seeds (None when paired as given).

    Raises:
        ConfigError: the arms cannot be paired.
    """
    seeds = [[run.seed for run in arm] for arm in (baseline, candidate)]
    known = all(seed is not None for arm in seeds for seed in arm)
    if by == "seed" and not known:
        missing = next(run for run in (*baseline, *candidate) if run.seed is None)
        raise ConfigError(f"{missing.name}: its config.yaml has no SEED >= 0 to pair by.")
    if by == "order" or not known:
        if len(baseline) != len(candidate):
            raise ConfigError(
                f"{len(baseline)} baseline and {len(candidate)} candidate runs cannot be paired: "
                "equally many are needed."
            )
        return list(zip(baseline, candidate, strict=True)), None
    for name, arm in zip(("baseline", "candidate"), seeds, strict=True):
        if len(set(arm)) != len(arm):
            raise ConfigError(f"two {name} runs have the same SEED (seeds {_spell(arm)}).")
    if set(seeds[0]) != set(seeds[1]):
        raise ConfigError(
            f"the arms have different seeds (baseline {_spell(seeds[0])}; candidate "
            f"{_spell(seeds[1])}): train the missing ones, or pair as given with --pair order."
        )
    partner = {run.seed: run for run in candidate}
    ordered = sorted(baseline, key=lambda run: run.seed)
    return [(run, partner[run.seed]) for run in ordered], tuple(sorted(seeds[0]))


def load_arms(
    baseline: Sequence[str | Path],
    candidate: Sequence[str | Path],
    *,
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    pair: str = "auto",
    dataset: str | None = None,
) -> Arms:
    """Read the runs of two arms and the data set that all of them were evaluated on.

    Args:
        baseline: run folders or results files.
        candidate: likewise.
        annotations: COCO annotations; by default what the runs wrote or their config names.
        images: folder of the images, for pictures; by default what the config names.
        pair: see :func:`pair_runs`.
        dataset: which data set, where runs were evaluated on several.

    Raises:
        UserError: runs cannot be read or paired, or are of different data.
    """
    arms = [[find_run(path, dataset) for path in paths] for paths in (baseline, candidate)]
    if not all(arms):
        raise ConfigError("give at least one run for --baseline and one for --candidate.")
    pairs, seeds = pair_runs(*arms, by=pair)
    runs = [run for arm in arms for run in arm]
    first = runs[0]
    for run in runs[1:]:
        if run.config and first.config and run.data_keys != first.data_keys:
            raise DataError(
                f"the arms are on different data: {first.name} was evaluated on "
                f"{_spell_data(first)}, {run.name} on {_spell_data(run)}."
            )
    ground_truth, root = _ground_truth(runs, annotations)
    return Arms(
        ground_truth=ground_truth,
        image_root=Path(images) if images else root,
        pairs=tuple(pairs),
        detections=tuple(
            tuple(load_detections(run.results, ground_truth) for run in pair) for pair in pairs
        ),
        seeds=seeds,
    )


def _ground_truth(
    runs: Sequence[Run], annotations: str | Path | None
) -> tuple[GroundTruth, Path | None]:
    configured = next((run for run in runs if run.dataset), None)
    root = None if configured is None else _image_root(configured)
    if annotations:
        return load_ground_truth(annotations), root
    beside = [run.annotations for run in runs if run.annotations]
    if beside:
        truths = [load_ground_truth(path) for path in beside]
        for path, truth in zip(beside, truths, strict=True):
            if not _same_objects(truth, truths[0]):
                raise DataError(
                    f"the arms are on different data: {beside[0]} and {path} hold other objects."
                )
        return truths[0], root
    if configured is None:
        raise ConfigError(
            f"{runs[0].name}: names no data set in a config.yaml; give --annotations FILE.json."
        )
    if "DATASETS" not in configured.config and configured.dataset not in DatasetCatalog:
        raise ConfigError(
            f"{configured.name}: its data set {configured.dataset} is registered by the code of a "
            "LazyConfig only; give --annotations FILE.json."
        )
    return ground_truth_of(configured.dataset), root


def _image_root(run: Run) -> Path | None:
    """Folder of the images of a run's data set, which its config registers if it can."""
    if "DATASETS" in run.config:  # a LazyConfig registers by its own code
        cfg = get_cfg()
        add_scb_config(cfg)
        keys = {"REGISTER", "SYNTHETIC"} & set(run.config["DATASETS"])
        node = CfgNode({"DATASETS": {key: run.config["DATASETS"][key] for key in keys}})
        cfg.merge_from_other_cfg(node)
        register_datasets(cfg)
    root = MetadataCatalog.get(run.dataset).get("image_root", None)
    return Path(root) if root else None


def _same_objects(one: GroundTruth, other: GroundTruth) -> bool:
    return (
        one.image_ids == other.image_ids
        and one.category_ids == other.category_ids
        and one.boxes.shape == other.boxes.shape
        and bool((one.boxes == other.boxes).all())
        and bool((one.image == other.image).all())
    )


def _spell(seeds: Sequence[int | None]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))


def _spell_data(run: Run) -> str:
    details = run.data_keys["entries"] or run.data_keys["synthetic"] or ""
    return f"{run.dataset} {details}".strip()
