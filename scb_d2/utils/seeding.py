"""Random numbers as a function of numbers, such as (seed, rank, iteration)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derived_seed", "restored_random_state", "seed_random_state", "temporary_seed"]


def derived_seed(*numbers: int) -> int:
    """A seed of 32 bits from non-negative integers; other integers give another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_random_state(*numbers: int) -> None:
    """Seed Python, NumPy and torch, GPUs included."""
    seed = derived_seed(*numbers)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def restored_random_state() -> Iterator[None]:
    """Put the state of Python's, NumPy's and torch's CPU generators back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextmanager
def temporary_seed(*numbers: int) -> Iterator[None]:
    """Seed Python, NumPy and torch on the CPU, and put their state back afterwards."""
    seed = derived_seed(*numbers)
    with restored_random_state():
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        yield
