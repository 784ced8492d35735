"""One rule for reading images, whoever reads: depth, range, turning, extreme shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from scb_d2.config import get_cfg
from scb_d2.data.checks import check_dataset
from scb_d2.data.checks.needs import Needs, needs_of
from scb_d2.data.images import check_pixel_range, read_image, vanishes
from scb_d2.data.mapper import CheckedDatasetMapper, ImageError, build_mapper
from scb_d2.data.registration import register_coco
from scb_d2.errors import ConfigError, DataError
from scb_d2.predict.images import read_image as read_for_prediction
from scb_d2.predict.predictor import Predictor

from .cases.builders import HEIGHT, WIDTH, write_coco

DEEP = {"uint16": "png", "int32": "tif", "float32": "tif"}


def _ramp(dtype: str, low: float, high: float) -> np.ndarray:
    values = np.linspace(low, high, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    return values.astype(dtype)


def _save(folder: Path, pixels: np.ndarray) -> str:
    path = folder / f"deep.{DEEP[str(pixels.dtype)]}"
    Image.fromarray(pixels).save(path)
    return str(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    dtype=st.sampled_from(sorted(DEEP)),
    low=st.integers(0, 3000),
    span=st.integers(500, 60000),
    ranged=st.booleans(),
)
def test_deep_pixels_are_scaled_alike_for_training_evaluation_and_prediction(
    tmp_path: Path, dtype: str, low: int, span: int, ranged: bool
) -> None:
    pixels = _ramp(dtype, low, low + span)
    path = _save(tmp_path, pixels)
    limits = [low + span // 4, low + span // 2] if ranged else []
    first, last = limits or (float(pixels.min()), float(pixels.max()))
    wanted = np.rint((pixels.astype(float).clip(first, last) - first) * 255 / (last - first))
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (0,), 0
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.PIXEL_RANGE = "none", limits
    record = {"file_name": path, "image_id": 1, "height": HEIGHT, "width": WIDTH, "annotations": []}
    predicted = read_for_prediction(path, limits)
    # Halves may be rounded to either side.
    assert np.abs(predicted - wanted[..., None]).max() <= 1
    for is_train in (True, False):
        found = build_mapper(cfg, is_train)(record)["image"]
        assert torch.equal(found, torch.from_numpy(predicted).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_other_images_are_read_as_by_detectron2(
    tmp_path: Path, mode: str, orientation: int
) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)).convert(mode)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    path = str(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    image.save(path, exif=exif)
    for image_format in ("RGB", "BGR", "L"):
        stock = detection_utils.read_image(path, image_format)
        assert np.array_equal(read_image(path, image_format, (0, 10)), stock)


def test_a_flat_deep_image_is_black(tmp_path: Path) -> None:
    path = _save(tmp_path, np.full((4, 4), 7000, dtype=np.uint16))
    assert not read_image(path).any()


@pytest.mark.parametrize("value", [(1,), (5, 5), (9, 1), "0 1", (0, float("nan")), 3, (0, "1")])
def test_pixel_ranges_that_are_none(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"INPUT.PIXEL_RANGE must be \(\) or two ascending"):
        check_pixel_range(value)


def test_the_check_tells_of_deep_images(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    Image.fromarray(_ramp("uint16", 0, 4000)).save(images / "1.png")
    register_coco("deep", json_file, images)
    (finding,) = [f for f in check_dataset("deep", headers=None).findings if f.code == "deep-image"]
    assert (finding.severity, finding.count) == ("warning", 1)
    codes = [
        f.code
        for f in check_dataset("deep", headers=None, needs=Needs(pixel_range=(0, 4095))).findings
    ]
    assert "ranged-image" in codes and "deep-image" not in codes


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 900), st.integers(1, 1400))
def test_what_vanishes_is_what_detectron2_cannot_resize(
    height: int, width: int, edge: int, longest: int
) -> None:
    resize = T.ResizeShortestEdge(edge, longest)
    transform = resize.get_transform(np.empty((height, width, 3), dtype=np.uint8))
    assert vanishes((height, width), [resize]) == (min(transform.new_h, transform.new_w) < 1)


def _long(folder: Path) -> dict[str, Any]:
    Image.new("RGB", (3000, 3)).save(folder / "long.png")
    return {"file_name": str(folder / "long.png"), "image_id": 1, "height": 3, "width": 3000}


def test_an_image_that_vanishes_is_passed_over_in_training_and_named_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 128
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 128
    record = {**_long(tmp_path), "annotations": []}
    assert build_mapper(cfg, True)(record) is None
    assert "is so long that resizing leaves nothing of it. It is passed over." in caplog.text
    mapper = build_mapper(cfg, False)
    with pytest.raises(ImageError, match="of 3000 x 3 pixels is so long"):
        mapper(record)
    predictor = Predictor(torch.nn.Identity(), mapper, None)
    with pytest.raises(DataError, match="an image of 3000 x 3 pixels is so long"):
        predictor(read_image(record["file_name"]))


def test_the_check_tells_of_images_that_vanish(tmp_path: Path) -> None:
    json_file, images = write_coco(
        tmp_path, lambda c: c["images"][3].update(file_name="long.png", width=3000, height=3)
    )
    _long(images)
    register_coco("long", json_file, images)
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 128
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 128
    needs = needs_of(cfg)
    found = {
        f.code: f.severity
        for f in check_dataset("long", evaluation=False, needs=needs, headers=None).findings
    }
    assert found == {"skipped-image": "warning", "empty-image": "note"}
    errors = check_dataset("long", training=False, needs=needs).findings
    assert [f.code for f in errors if f.severity == "error"] == ["elongated-image"]


def test_the_mapper_takes_a_range_in_python_too(tmp_path: Path) -> None:
    path = _save(tmp_path, _ramp("uint16", 0, 1000))
    mapper = CheckedDatasetMapper(
        is_train=False, augmentations=[], image_format="RGB", pixel_range=(0, 2000)
    )
    record = {"file_name": path, "image_id": 1, "height": HEIGHT, "width": WIDTH}
    assert int(mapper(record)["image"].max()) == 128
