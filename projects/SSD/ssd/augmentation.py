"""SSD's training augmentation (Liu et al. 2016, section 2.2) as Detectron2 augmentations."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform, Transform

from scb_d2.errors import ConfigError

__all__ = [
    "AUGMENTATIONS",
    "ExpandTransform",
    "MinIoURandomCrop",
    "PhotometricDistortion",
    "PhotometricTransform",
    "RandomExpand",
    "build_ssd_augmentations",
]

AUGMENTATIONS = ("distort", "expand", "crop")
"""What ``INPUT.SSD_AUGMENTATIONS`` may name."""

_TO_HSV = {"RGB": cv2.COLOR_RGB2HSV, "BGR": cv2.COLOR_BGR2HSV}
_FROM_HSV = {"RGB": cv2.COLOR_HSV2RGB, "BGR": cv2.COLOR_HSV2BGR}


@dataclass
class PhotometricTransform(Transform):
    """Changes brightness, contrast, saturation and hue of a uint8 image, in this order.

    Attributes:
        brightness: added to each channel.
        contrast: factor on each channel.
        saturation: factor on the saturation.
        hue: degrees added to the hue.
        contrast_last: whether contrast comes after saturation and hue instead.
        image_format: ``"RGB"`` or ``"BGR"``.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_last: bool = False
    image_format: str = "RGB"

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        # OpenCV takes float32 only; a NumPy scalar of double precision would change the type.
        contrast, saturation = float(self.contrast), float(self.saturation)
        image = np.clip(img.astype(np.float32) + float(self.brightness), 0, 255)
        if not self.contrast_last:
            image = np.clip(image * contrast, 0, 255)
        if saturation != 1 or self.hue != 0:
            hsv = cv2.cvtColor(image, _TO_HSV[self.image_format])
            hsv[..., 0] = (hsv[..., 0] + self.hue) % 360
            hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
            image = cv2.cvtColor(hsv, _FROM_HSV[self.image_format])
        if self.contrast_last:
            image = image * contrast
        return np.clip(np.round(image), 0, 255).astype(np.uint8)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


class PhotometricDistortion(T.Augmentation):
    """Each of brightness, contrast, saturation and hue with a probability of one half.

    Ranges of Caffe's SSD, hue in degrees that wrap as in the code of the scale-balanced loss paper.
    A coin decides whether contrast comes before or after saturation and hue.
    """

    def __init__(
        self,
        image_format: str = "RGB",
        brightness_delta: float = 32.0,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: float = 18.0,
    ):
        """Keep the ranges.

        Args:
            image_format: ``"RGB"`` or ``"BGR"``.
            brightness_delta: largest value added or taken away.
            contrast_range: least and largest factor.
            saturation_range: least and largest factor.
            hue_delta: largest turn, degrees.

        Raises:
            ConfigError: if the format is neither.
        """
        super().__init__()
        if image_format not in _TO_HSV:
            raise ConfigError(f"INPUT.FORMAT must be RGB or BGR for SSD; got {image_format!r}.")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        return PhotometricTransform(
            brightness=self._draw(-self.brightness_delta, self.brightness_delta, 0.0),
            contrast=self._draw(*self.contrast_range, 1.0),
            saturation=self._draw(*self.saturation_range, 1.0),
            hue=self._draw(-self.hue_delta, self.hue_delta, 0.0),
            contrast_last=np.random.rand() < 0.5,
            image_format=self.image_format,
        )

    def _draw(self, low: float, high: float, otherwise: float) -> float:
        return float(self._rand_range(low, high)) if np.random.rand() < 0.5 else otherwise


class ExpandTransform(PadTransform):
    """Puts the image on a larger canvas of one colour, a ``pad_value`` per channel."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        height, width = img.shape[:2]
        shape = (self.y0 + height + self.y1, self.x0 + width + self.x1, *img.shape[2:])
        canvas = np.empty(shape, dtype=img.dtype)
        canvas[:] = np.asarray(self.pad_value).round().astype(img.dtype)
        canvas[self.y0 : self.y0 + height, self.x0 : self.x0 + width] = img
        return canvas


class RandomExpand(T.Augmentation):
    """Zooms out: a canvas up to ``max_ratio`` times as wide and high, the image anywhere on it."""

    def __init__(self, fill: Sequence[float], max_ratio: float = 4.0, prob: float = 0.5):
        """Keep the ranges.

        Args:
            fill: colour of the canvas, one value per channel: the pixel mean.
            max_ratio: largest factor on both sides.
            prob: how often.
        """
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        if np.random.rand() >= self.prob:
            return T.NoOpTransform()
        height, width = image.shape[:2]
        ratio = self._rand_range(1.0, self.max_ratio)
        more_x, more_y = int(width * ratio) - width, int(height * ratio) - height
        left, top = np.random.randint(more_x + 1), np.random.randint(more_y + 1)
        return ExpandTransform(
            left, top, more_x - left, more_y - top, width, height, tuple(self.fill)
        )


class MinIoURandomCrop(T.MinIoURandomCrop):
    """Detectron2's crop, which on images of a pixel or two may ask for an empty patch."""

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> Transform:
        transform = super().get_transform(image, boxes)
        if isinstance(transform, T.CropTransform) and 0 in (transform.w, transform.h):
            return T.NoOpTransform()
        return transform


def build_ssd_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The augmentations of a config: in tests only the warp to the square.

    In training photometric distortion, expansion and Detectron2's crop with a least IoU to the
    objects, as ``INPUT.SSD_AUGMENTATIONS`` chooses, the warp, and ``INPUT.RANDOM_FLIP``.

    Raises:
        ConfigError: if one of the two keys holds something else.
    """
    resize = T.Resize((cfg.MODEL.SSD.IMAGE_SIZE, cfg.MODEL.SSD.IMAGE_SIZE))
    if not is_train:
        return [resize]
    chosen, flip = cfg.INPUT.SSD_AUGMENTATIONS, cfg.INPUT.RANDOM_FLIP
    for name in chosen:
        if name not in AUGMENTATIONS:
            raise ConfigError(
                f"INPUT.SSD_AUGMENTATIONS may name {', '.join(AUGMENTATIONS)}; got {name!r}."
            )
    if flip not in ("horizontal", "vertical", "none"):
        raise ConfigError(
            f"INPUT.RANDOM_FLIP must be one of horizontal, vertical, none; got {flip!r}."
        )
    steps = {
        "distort": PhotometricDistortion(cfg.INPUT.FORMAT),
        "expand": RandomExpand(cfg.MODEL.PIXEL_MEAN),
        "crop": MinIoURandomCrop(),
    }
    augmentations = [steps[name] for name in AUGMENTATIONS if name in chosen] + [resize]
    if flip != "none":
        augmentations.append(
            T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")
        )
    return augmentations
