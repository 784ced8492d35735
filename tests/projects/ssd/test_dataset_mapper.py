from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

from scb_d2.data.mapper import ImageError, build_mapper
from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import SSDDatasetMapper

from .builders import ssd_config


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """100 x 50 pixels with a red object in x 20-40, y 10-30, and one at the right edge."""
    image = np.zeros((50, 100, 3), dtype=np.uint8)
    image[10:30, 20:40] = [255, 0, 0]
    Image.fromarray(image).save(tmp_path / "a.png")
    boxes = [[20, 10, 20, 20], [90, 5, 10, 10], [0, 0, 100, 50]]
    return {
        "file_name": str(tmp_path / "a.png"),
        "image_id": 1,
        "height": 50,
        "width": 100,
        "annotations": [
            {"bbox": b, "bbox_mode": BoxMode.XYWH_ABS, "category_id": i, "iscrowd": int(i == 2)}
            for i, b in enumerate(boxes)
        ],
    }


def _mapper(*augmentations: T.Augmentation | T.Transform, is_train: bool = True) -> Any:
    return SSDDatasetMapper(is_train, augmentations=list(augmentations), image_format="RGB")


def test_square_warp_scales_the_boxes(record: dict[str, Any]) -> None:
    cfg = ssd_config("ssd_toy.yaml", "INPUT.SSD_AUGMENTATIONS", (), "INPUT.RANDOM_FLIP", "none")
    mapped = build_mapper(cfg, True)(record)
    assert mapped["image"].shape == (3, 160, 160) and mapped["image"].dtype == torch.uint8
    instances = mapped["instances"]
    assert instances.image_size == (160, 160)
    assert instances.gt_classes.tolist() == [0, 1]  # the crowd is gone
    expected = torch.tensor([[32.0, 32, 64, 96], [144, 16, 160, 48]])
    assert torch.allclose(instances.gt_boxes.tensor, expected)
    assert (record["height"], record["width"]) == (mapped["height"], mapped["width"]) == (50, 100)
    assert "annotations" in record  # the data set's record is left alone


def test_test_mapper_only_warps(record: dict[str, Any]) -> None:
    mapped = build_mapper(ssd_config("ssd_toy.yaml"), False)(record)
    assert mapped["image"].shape == (3, 160, 160)
    assert (mapped["height"], mapped["width"]) == (50, 100)
    assert "annotations" not in mapped and "instances" not in mapped


def test_objects_whose_centre_left_are_dropped_and_others_clipped(record: dict[str, Any]) -> None:
    # x from 25: the red object's centre 30 stays, its left part goes; the other is outside
    mapped = _mapper(T.CropTransform(25, 0, 60, 50))(record)
    assert mapped["instances"].gt_classes.tolist() == [0]
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[0, 10, 15, 30]]
    # x from 35: the centre is outside although a part of the box is inside
    mapped = _mapper(T.CropTransform(35, 0, 65, 50))(record)
    assert mapped["instances"].gt_classes.tolist() == [1]


def test_crop_sees_the_boxes(record: dict[str, Any]) -> None:
    """Stock Detectron2 hands no boxes over; its crop then never crops."""
    crop = T.MinIoURandomCrop(min_ious=(0.1,))
    sizes = {tuple(_mapper(crop)(record)["image"].shape) for _ in range(40)}
    assert len(sizes) > 5


def test_boxes_follow_the_pixels_through_all_augmentations(record: dict[str, Any]) -> None:
    """The red object's box is where the red pixels are."""
    record["annotations"] = record["annotations"][:1]
    cfg = ssd_config("ssd300_voc.yaml", "INPUT.SSD_AUGMENTATIONS", ("expand", "crop"))
    mapper = build_mapper(cfg, True)
    for _ in range(40):
        mapped = mapper(record)
        assert mapped["image"].shape == (3, 300, 300)
        assert len(mapped["instances"]) == 1
        red = (mapped["image"][0].int() - mapped["image"][1].int()) > 128
        y, x = red.nonzero(as_tuple=True)
        seen = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
        box = mapped["instances"].gt_boxes.tensor[0]
        assert (seen - box).abs().max() < 12  # a pixel of the small image is up to 10 wide here


def test_images_without_objects(record: dict[str, Any]) -> None:
    record["annotations"] = []
    mapper = build_mapper(ssd_config("ssd300_voc.yaml"), True)
    for _ in range(10):
        mapped = mapper(record)
        assert len(mapped["instances"]) == 0
        assert mapped["instances"].gt_boxes.tensor.shape == (0, 4)
        assert mapped["instances"].gt_classes.dtype == torch.int64


def test_zero_height_boxes_are_dropped(record: dict[str, Any]) -> None:
    record["annotations"][0]["bbox"] = [20, 10, 20, 0]
    instances = _mapper()(record)["instances"]
    assert instances.gt_classes.tolist() == [1]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_grey_and_other_files(mode: str, record: dict[str, Any]) -> None:
    path = record["file_name"]
    Image.open(path).convert(mode).save(path)
    mapped = build_mapper(ssd_config("ssd300_voc.yaml"), True)(record)
    assert mapped["image"].shape == (3, 300, 300)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 37), (501, 7), (333, 500)])
def test_odd_sizes(width: int, height: int, tmp_path: Path) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "odd.png")
    record = {
        "file_name": str(tmp_path / "odd.png"),
        "image_id": 1,
        "height": height,
        "width": width,
        "annotations": [
            {"bbox": [0, 0, width, height], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
        ],
    }
    mapper = build_mapper(ssd_config("ssd300_voc.yaml"), True)
    for _ in range(5):
        mapped = mapper(record)
        assert mapped["image"].shape == (3, 300, 300)
        assert len(mapped["instances"]) == 1


def test_difficult_objects_are_kept(record: dict[str, Any]) -> None:
    record["annotations"][0]["difficult"] = 1
    assert len(_mapper()(record)["instances"]) == 2


def test_unreadable_image_is_named(record: dict[str, Any], tmp_path: Path) -> None:
    record["file_name"] = str(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"gone\.png .* does not exist"):
        _mapper()(record)


def test_unknown_mapper_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"INPUT\.MAPPER must be one of .*SSDDatasetMapper"):
        build_mapper(ssd_config("ssd_toy.yaml", "INPUT.MAPPER", "SSDMapper"), True)
