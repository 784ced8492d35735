"""Seeded batches: Detectron2's own stream, from any batch on, for any number of workers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler

from scb_d2.engine.training.loader import (
    SeededBatchSampler,
    build_seeded_train_loader,
    skip_batches,
)
from scb_d2.engine.training.trainer import Trainer
from scb_d2.utils.seeding import temporary_seed
from tests.engine.conftest import LAZY
from tests.faults.runs import differences, kill_at_call, left_by, run_process

RECORDS = [{"index": i, "width": 10 + (i * 7) % 11, "height": 15} for i in range(23)]


def _mapper(record: dict) -> dict | None:
    drawn = (random.random(), np.random.rand(), torch.rand(1).item())
    return None if drawn[0] < 0.2 else {**record, "drawn": drawn}


def _batches(workers: int = 0, start: int = 0, count: int = 12) -> list[list[dict]]:
    loader = build_seeded_train_loader(
        RECORDS, mapper=_mapper, seed=5, total_batch_size=3, num_workers=workers
    )
    skip_batches(loader, start)
    return list(itertools.islice(loader, count - start))


def test_groups_are_those_of_detectron2() -> None:
    def stream() -> Iterator[dict]:
        return (RECORDS[i] for i in TrainingSampler(len(RECORDS), seed=2))

    stock = AspectRatioGroupedDataset(stream(), 3)
    expected = [[d["index"] for d in batch] for batch in itertools.islice(stock, 40)]
    groups = [d["width"] > d["height"] for d in RECORDS]
    ours = SeededBatchSampler(TrainingSampler(len(RECORDS), seed=2), 3, groups)
    found = list(itertools.islice(ours, 40))
    assert [[index for _, _, index in batch] for batch in found] == expected
    assert [batch[0][0] for batch in found] == list(range(40))
    ours.start = 17
    assert list(itertools.islice(ours, 23)) == found[17:]


def test_batches_follow_from_seed_and_number_alone() -> None:
    expected = _batches()
    np.random.rand(7)
    assert _batches(workers=2) == expected
    assert _batches(start=5) == expected[5:]
    assert _batches(workers=2, start=5) == expected[5:]


def test_loading_leaves_the_random_state_alone() -> None:
    before = random.random(), np.random.rand(), torch.rand(1)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    _batches()
    assert (random.random(), np.random.rand(), torch.rand(1)) == before


def test_repeat_factors_give_the_same_stream_again() -> None:
    with temporary_seed(1):
        sampler = RepeatFactorTrainingSampler(torch.full((9,), 1.5), seed=4)
    batches = SeededBatchSampler(sampler, 2)
    first = list(itertools.islice(batches, 20))
    batches.start = 8
    assert list(itertools.islice(batches, 12)) == first[8:]


@pytest.mark.slow
def test_a_killed_lazy_run_resumes_to_the_bit(tmp_path: Path) -> None:
    left = []
    for name in ("undisturbed", "killed"):
        config = tmp_path / f"{name}.py"
        config.write_text(LAZY.format(root=str(tmp_path / "shapes"), output=str(tmp_path / name)))
        command = ["--config-file", config, "--resume", "train.device=cpu"]
        if name == "killed":
            prepare = kill_at_call(Trainer, "run_step", 4)
            assert run_process(command, tmp_path / "log", prepare).status < 0
        ended = run_process(command, tmp_path / "log")
        assert ended.status == 0, ended.output
        left.append(left_by(tmp_path / name))
    assert not differences(*left)
