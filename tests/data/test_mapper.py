"""Images at load: one sentence that names the file, from worker processes too."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.structures import BoxMode
from PIL import Image

from scb_d2.data.mapper import CheckedDatasetMapper, ImageError


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (32,)
    cfg.INPUT.RANDOM_FLIP = "none"
    return cfg


def _record(file_name: str | Path = "a.png", boxes: tuple = ((1, 2, 10, 12),)) -> dict:
    anns = [{"bbox": list(b), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0} for b in boxes]
    size = {"width": 40, "height": 30}
    return {"file_name": str(file_name), "image_id": 7, **size, "annotations": anns}


def _photo(name: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(name)
    return Path(name).read_bytes()


def test_sound_images_are_mapped_as_by_detectron2(cfg: CfgNode) -> None:
    _photo("a.png")
    ours, stock = (m(cfg, True)(_record()) for m in (CheckedDatasetMapper, DatasetMapper))
    assert torch.equal(ours["image"], stock["image"])
    assert torch.equal(ours["instances"].gt_boxes.tensor, stock["instances"].gt_boxes.tensor)


def test_flat_boxes_are_dropped_from_training(cfg: CfgNode) -> None:
    _photo("a.png")
    record = _record(boxes=((1, 2, 10, 0), (1, 2, 10, 12), (5, 5, 0, 0)))
    assert len(CheckedDatasetMapper(cfg, True)(record)["instances"]) == 1


def _absent() -> str:
    return "does not exist."


def _text() -> str:
    Path("a.png").write_text("not an image")
    return "is no image of a known format."


def _empty() -> str:
    Path("a.png").touch()
    return "is no image of a known format."


def _truncated() -> str:
    Path("a.png").write_bytes(_photo("a.png")[:1000])
    return "cannot be read: "


def _folder() -> str:
    Path("a.png").mkdir()
    return "cannot be read: Is a directory."


def _other_size() -> str:
    Image.new("RGB", (30, 40)).save("a.png")
    return "is 30 x 40 pixels (turned as its EXIF tag asks) and is annotated as 40 x 30."


FAULTS = [_absent, _text, _empty, _truncated, _folder, _other_size]


@pytest.mark.parametrize("make", FAULTS)
def test_an_image_that_cannot_be_used_is_named(cfg: CfgNode, make) -> None:
    message = make()
    with pytest.raises(ImageError) as wrong:
        CheckedDatasetMapper(cfg, True)(_record())
    assert str(wrong.value).startswith(f"The image a.png (image_id 7) {message}")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_data_loader_raises_the_sentence_alone(
    cfg: CfgNode, tmp_path: Path, num_workers: int
) -> None:
    loader = build_detection_train_loader(
        [_record(tmp_path / "absent.png")],
        mapper=CheckedDatasetMapper(cfg, True),
        total_batch_size=1,
        num_workers=num_workers,
    )
    with pytest.raises(ImageError) as wrong:
        next(iter(loader))
    assert str(wrong.value) == f"The image {tmp_path}/absent.png (image_id 7) does not exist."


def test_the_error_survives_pickling() -> None:
    error = ImageError("The image a.png (image_id 7) does not exist.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
