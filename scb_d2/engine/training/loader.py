"""Training batches as a function of the seed and the iteration, whatever happened before."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.data.build import trivial_batch_collator, worker_init_reset_seed
from detectron2.data.samplers import TrainingSampler
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from scb_d2.errors import RunError
from scb_d2.utils.seeding import derived_seed, temporary_seed
from scb_d2.utils.user_errors import dead_worker

__all__ = [
    "SeededBatchSampler",
    "build_seeded_train_loader",
    "build_train_loader",
    "dead_workers_named",
    "skip_batches",
]

_MAX_TRIES = 100

Key = tuple[int, int, int]
"""Number of the batch, place in it, index into the data set."""


class SeededBatchSampler(Sampler[list[Key]]):
    """Batches of an endless stream of indices, from batch ``start`` on.

    Images wider than high and others go to separate batches as in Detectron2's
    ``AspectRatioGroupedDataset``, but before they are loaded: batch k depends on the sampler alone,
    neither on the number of workers nor on where a run began.
    """

    def __init__(
        self, sampler: Iterable[int], batch_size: int, groups: Sequence[bool] | None = None
    ) -> None:
        """Group a sampler's stream.

        Args:
            sampler: gives the same stream each time it is iterated.
            batch_size: images per batch.
            groups: group of each index; None: all in one.
        """
        self.sampler = sampler
        self.batch_size = batch_size
        self.groups = groups
        self.start = 0

    def __iter__(self) -> Iterator[list[Key]]:
        number = 0
        buckets: dict[bool, list[int]] = {False: [], True: []}
        for index in self.sampler:
            bucket = buckets[self.groups[index] if self.groups is not None else False]
            bucket.append(index)
            if len(bucket) == self.batch_size:
                if number >= self.start:
                    yield [(number, place, index) for place, index in enumerate(bucket)]
                bucket.clear()
                number += 1


class _SeededDataset(Dataset):
    """Maps records with random numbers of their own: of (seed, rank, batch, place)."""

    def __init__(self, dataset: Any, mapper: Callable[[Any], Any], seed: int) -> None:
        self.dataset = dataset
        self.mapper = mapper
        self.seed = (seed, comm.get_rank())

    def __getitem__(self, key: Key) -> Any:
        number, place, index = key
        with temporary_seed(*self.seed, number, place):
            for _ in range(_MAX_TRIES):
                mapped = self.mapper(self.dataset[index])
                if mapped is not None:
                    return mapped
                # As in Detectron2, another image takes the place of one that its mapper refuses.
                index = np.random.randint(len(self.dataset))
        raise RuntimeError(f"The mapper refused {_MAX_TRIES} images in a row.")


def build_train_loader(cfg: CfgNode, mapper: Callable[[dict], dict | None]) -> Iterable[list[dict]]:
    """Detectron2's training loader of a config; with ``SEED`` >= 0 a seeded one.

    Args:
        cfg: the whole config.
        mapper: from record to the model's input.
    """
    if cfg.SEED < 0:
        return build_detection_train_loader(cfg, mapper=mapper)
    with temporary_seed(cfg.SEED):  # of which the samplers take their seeds
        parts = build_detection_train_loader.from_config(cfg, mapper=mapper)
    return build_seeded_train_loader(seed=cfg.SEED, **parts)


def build_seeded_train_loader(
    dataset: Any,
    *,
    mapper: Callable[[Any], Any] | None,
    seed: int,
    sampler: Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list], Any] | None = None,
    **kwargs: Any,
) -> Iterable[Any]:
    """Twin of ``detectron2.data.build_detection_train_loader`` whose batches follow from a seed.

    Args:
        dataset: as in Detectron2; an iterable one, whose order is its own, gets the stock loader.
        mapper: as in Detectron2.
        seed: non-negative, the same on every rank.
        sampler: as in Detectron2; must give the same stream each time it is iterated.
        total_batch_size: images per iteration of all ranks.
        aspect_ratio_grouping: as in Detectron2; needs records with ``width`` and ``height``.
        num_workers: worker processes; the batches do not depend on it.
        collate_fn: as in Detectron2.
        **kwargs: of :class:`torch.utils.data.DataLoader`.
    """
    if isinstance(dataset, IterableDataset):
        return build_detection_train_loader(
            dataset,
            mapper=mapper,
            total_batch_size=total_batch_size,
            aspect_ratio_grouping=aspect_ratio_grouping,
            num_workers=num_workers,
            collate_fn=collate_fn,
            **kwargs,
        )
    groups = [d["width"] > d["height"] for d in dataset] if aspect_ratio_grouping else None
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    sampler = sampler or TrainingSampler(len(dataset), seed=derived_seed(seed))
    batches = SeededBatchSampler(sampler, total_batch_size // comm.get_world_size(), groups)
    return DataLoader(
        _SeededDataset(dataset, mapper or _unchanged, seed),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate_fn or trivial_batch_collator,
        worker_init_fn=worker_init_reset_seed,
        generator=torch.Generator().manual_seed(derived_seed(seed)),  # leaves the global one alone
        **kwargs,
    )


def skip_batches(loader: Any, count: int) -> None:
    """Let a loader begin at batch ``count``; without effect on Detectron2's, which cannot."""
    batches = getattr(loader, "batch_sampler", None)
    if isinstance(batches, SeededBatchSampler):
        batches.start = count


@contextmanager
def dead_workers_named(trainer: TrainerBase) -> Iterator[None]:
    """One sentence for a data loader's process that died, which is noticed at any moment.

    Args:
        trainer: whose iteration is named.

    Raises:
        RunError: that sentence.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        reason = dead_worker(error)
        if reason is None:
            if isinstance(error, RuntimeError):
                raise
            # it died while it handed a batch over
            reason = f"DataLoader worker closed its connection ({' '.join(str(error).split())})."
        raise RunError(
            f"Training stopped at iteration {trainer.iter} because a data loader's process died: "
            f"{reason} Go on with --resume, with fewer workers if memory ran out."
        ) from error


def _unchanged(record: Any) -> Any:
    return record
