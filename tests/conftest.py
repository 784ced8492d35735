"""Shared fixtures: paths, hypothesis profiles, and the global state of Detectron2 put back."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Read at import by matplotlib, Detectron2's built-in data sets and the maths libraries.
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("DETECTRON2_DATASETS", None)

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import _LOG_COUNTER, setup_logger
from hypothesis import settings

REPO_ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)

settings.register_profile(
    "default", max_examples=25, deadline=None, derandomize=True, database=None
)
settings.register_profile("long", max_examples=10_000, deadline=None, database=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With ``HYPOTHESIS_PROFILE=long``, ``-m long`` selects the tests of random inputs too."""
    if PROFILE == "long":
        for item in items:
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images beside the checkout; tests that need them are skipped where they are absent."""
    path = REPO_ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the real images of ../shared/data, which are not on this machine")
    return path


@pytest.fixture(autouse=True, scope="session")
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests and their processes leave in the temporary folder goes with pytest's own.

    A process that is killed deletes nothing, and torchrun keeps its logs. The name is short, since
    sockets lie below it.
    """
    folder = str(tmp_path_factory.mktemp("t"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def _outside_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative output folders land in the test's own temporary folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _catalogs_restored() -> Iterator[None]:
    """Put back the data sets that were registered before a test."""
    before = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield
    for catalog, entries in before:
        catalog.data = entries


@pytest.fixture(autouse=True)
def _loggers_restored() -> Iterator[None]:
    """Undo Detectron2's `setup_logger`, which would hide later messages from `caplog`."""
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "scb_d2")]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    yield
    for log, handlers, level, propagate in before:
        for handler in set(log.handlers) - set(handlers):
            handler.close()
        log.handlers, log.level, log.propagate = handlers, level, propagate
    setup_logger.cache_clear()
    _LOG_COUNTER.clear()  # what is logged once is logged once for each test
