"""A data set is read once for the check, the rehearsal and the training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from scb_d2.data.reader import coco
from scb_d2.data.reader.catalog import (
    load_through_reader,
    read_dataset,
    reading_once,
    training_dicts,
)
from scb_d2.data.registration import register_coco
from scb_d2.engine.main import main
from tests.data.cases.builders import write_coco


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each JSON file was read."""
    counts: Counter[str] = Counter()
    read_json = coco.read_json

    def counting(path: object, *args: object) -> object:
        counts[Path(str(path)).name] += 1
        return read_json(path, *args)

    monkeypatch.setattr(coco, "read_json", counting)
    return counts


def test_records_are_kept_until_they_are_trained_on(tmp_path: Path, reads: Counter[str]) -> None:
    register_coco("odd", *write_coco(tmp_path))
    with reading_once() as kept:
        records = read_dataset("odd")
        assert read_dataset("odd") is records and training_dicts("odd") is records.images
        assert list(kept) == ["odd"]
        assert DatasetCatalog.get("odd") is records.images
        assert not kept and reads["a.json"] == 1
        assert DatasetCatalog.get("odd") is not records.images
    assert read_dataset("odd") is not records


def test_dicts_of_other_evaluations_pass_as_they_are() -> None:
    dicts = [{"file_name": "a.jpg", "image_id": 1, "annotations": [{"bbox": [1, 2, 3, 4]}]}]
    calls = []
    DatasetCatalog.register("other", lambda: calls.append(1) or dicts)
    MetadataCatalog.get("other").evaluator_type = "lvis"
    load_through_reader(["other"])
    with reading_once():
        assert training_dicts("other") is dicts
        assert DatasetCatalog.get("other") is dicts
    assert len(calls) == 1


def test_a_run_reads_its_training_data_once(tiny_yaml: Path, reads: Counter[str]) -> None:
    train, _ = write_coco(Path("train"))
    train.rename("train/train.json")
    test, _ = write_coco(Path("test"))
    sets = [
        {"NAME": name, "FORMAT": "coco", "JSON": path, "IMAGES": images}
        for name, path, images in (
            ("train", "train/train.json", "train/images"),
            ("test", str(test), "test/images"),
        )
    ]
    data = ["DATASETS.REGISTER", str(sets), "DATASETS.TRAIN", "train", "DATASETS.TEST", "test"]
    short = ["SOLVER.MAX_ITER", "1", "TEST.EVAL_PERIOD", "0", "MODEL.RETINANET.NUM_CLASSES", "2"]
    opts = ["MODEL.DEVICE", "cpu", *short, *data]
    assert main(["--config-file", str(tiny_yaml), *opts]) == 0
    assert reads == {"train.json": 1, "a.json": 2}  # the evaluator reads its own again
