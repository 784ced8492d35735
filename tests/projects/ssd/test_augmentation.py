import numpy as np
import pytest
from detectron2.data import transforms as T

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import build_ssd_augmentations
from scb_d2.projects.ssd.augmentation import (
    ExpandTransform,
    PhotometricDistortion,
    PhotometricTransform,
    RandomExpand,
)

from .builders import ssd_config


def _image(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)


def test_photometric_identity() -> None:
    image = _image()
    assert np.array_equal(PhotometricTransform().apply_image(image), image)


def test_brightness_and_contrast_saturate() -> None:
    image = np.array([[[0, 100, 250]]], dtype=np.uint8)
    assert PhotometricTransform(brightness=20).apply_image(image).tolist() == [[[20, 120, 255]]]
    assert PhotometricTransform(brightness=-20).apply_image(image).tolist() == [[[0, 80, 230]]]
    assert PhotometricTransform(contrast=1.5).apply_image(image).tolist() == [[[0, 150, 255]]]


@pytest.mark.parametrize(("image_format", "red"), [("RGB", 0), ("BGR", 2)])
def test_hue_turns_red_to_green(image_format: str, red: int) -> None:
    image = np.zeros((1, 1, 3), dtype=np.uint8)
    image[..., red] = 200
    turned = PhotometricTransform(hue=120, image_format=image_format).apply_image(image)
    assert turned[0, 0].tolist() == [0, 200, 0]
    back = PhotometricTransform(hue=-120, image_format=image_format).apply_image(turned)
    assert np.array_equal(back, image)


def test_saturation_keeps_grey() -> None:
    grey = np.full((2, 2, 3), 90, dtype=np.uint8)
    assert np.array_equal(PhotometricTransform(saturation=1.5, hue=10).apply_image(grey), grey)


def test_order_of_contrast_matters() -> None:
    image = np.array([[[200, 40, 40]]], dtype=np.uint8)
    first = PhotometricTransform(contrast=1.5, saturation=0.5).apply_image(image)
    last = PhotometricTransform(contrast=1.5, saturation=0.5, contrast_last=True).apply_image(image)
    assert not np.array_equal(first, last)


def test_distortion_draws_each_part_half_of_the_time() -> None:
    distortion, image = PhotometricDistortion(), _image(2, 2)
    drawn = [distortion.get_transform(image) for _ in range(600)]
    for name, neutral, low, high in [
        ("brightness", 0, -32, 32),
        ("contrast", 1, 0.5, 1.5),
        ("saturation", 1, 0.5, 1.5),
        ("hue", 0, -18, 18),
    ]:
        values = np.array([getattr(x, name) for x in drawn])
        assert 0.4 < (values == neutral).mean() < 0.6
        assert low <= values.min() < neutral < values.max() <= high
    for transform in drawn[:50]:
        out = transform.apply_image(_image())
        assert out.dtype == np.uint8 and out.shape == (40, 60, 3)


def test_expand_keeps_image_and_moves_boxes() -> None:
    image = _image(4, 6)
    transform = ExpandTransform(3, 2, 1, 5, 6, 4, (123.4, 117.0, 103.6))
    canvas = transform.apply_image(image)
    assert canvas.shape == (11, 10, 3)
    assert np.array_equal(canvas[2:6, 3:9], image)
    assert canvas[0, 0].tolist() == [123, 117, 104]
    assert transform.apply_box(np.array([[1.0, 1, 5, 3]])).tolist() == [[4, 3, 8, 5]]
    assert np.array_equal(transform.inverse().apply_image(canvas), image)


def test_expand_ratio_is_at_most_four_and_the_same_on_both_sides() -> None:
    expand, image = RandomExpand((0, 0, 0)), _image(100, 200)
    shapes = []
    for _ in range(100):
        transform = expand.get_transform(image)
        if not isinstance(transform, T.NoOpTransform):
            shapes.append(transform.apply_image(image).shape[:2])
    assert 30 < len(shapes) < 70
    ratios = np.array(shapes) / [100, 200]
    assert ratios.min() >= 1 and ratios.max() <= 4
    assert np.abs(ratios[:, 0] - ratios[:, 1]).max() < 0.02


def test_order_of_the_augmentations() -> None:
    names = [type(x).__name__ for x in build_ssd_augmentations(ssd_config("ssd300_voc.yaml"), True)]
    assert names == [
        "PhotometricDistortion",
        "RandomExpand",
        "MinIoURandomCrop",
        "Resize",
        "RandomFlip",
    ]
    (resize,) = build_ssd_augmentations(ssd_config("ssd512_voc.yaml"), False)
    assert isinstance(resize, T.Resize) and tuple(resize.shape) == (512, 512)


def test_augmentations_can_be_chosen() -> None:
    cfg = ssd_config("ssd300_voc.yaml", "INPUT.SSD_AUGMENTATIONS", ("crop", "distort"))
    names = [type(x).__name__ for x in build_ssd_augmentations(cfg, True)]
    assert names == ["PhotometricDistortion", "MinIoURandomCrop", "Resize", "RandomFlip"]
    none = ("INPUT.SSD_AUGMENTATIONS", (), "INPUT.RANDOM_FLIP", "none")
    (resize,) = build_ssd_augmentations(ssd_config("ssd300_voc.yaml", *none), True)
    assert isinstance(resize, T.Resize)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.SSD_AUGMENTATIONS", ("croop",)),
        ("INPUT.RANDOM_FLIP", "both"),
        ("INPUT.FORMAT", "L"),
    ],
)
def test_unknown_choices_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{key} .*{value[0] if key != 'INPUT.FORMAT' else 'L'}"):
        build_ssd_augmentations(ssd_config("ssd300_voc.yaml", key, value), True)
