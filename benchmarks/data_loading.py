"""Mapping training images: the project's checked mapper against Detectron2's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from detectron2.data import DatasetCatalog, DatasetMapper

from scb_d2.data import CheckedDatasetMapper, register_datasets

from .harness import Ratio, compare
from .scenes import config


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """On the embedded shapes; the same on every device."""
    if device != "cpu":
        return
    with tempfile.TemporaryDirectory() as folder:
        opts = ["DATASETS.SYNTHETIC.ROOT", str(Path(folder) / "shapes")]
        opts += ["DATASETS.SYNTHETIC.TRAIN_IMAGES", 40, "DATASETS.SYNTHETIC.VAL_IMAGES", 1]
        cfg = config("configs/shapes_retinanet_scb.yaml", *opts)
        register_datasets(cfg)
        records = DatasetCatalog.get("shapes_train")
        mappers = [CheckedDatasetMapper(cfg, True), DatasetMapper(cfg, True)]
        ours, stock = (lambda m=mapper: [m(record) for record in records] for mapper in mappers)
        yield compare("mapping 40 images / Detectron2's mapper", ours, stock, 3 if quick else 15)
