"""From an annotated image to boxes in network-input pixels, without opening the image."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from scb_d2.data.rotated_mapper import rotated_boxes_after
from scb_d2.errors import ConfigError, DataError
from scb_d2.utils.seeding import restored_random_state

from .rotated import as_boxes

__all__ = ["AugmentedInput", "FixedInput", "InputImage", "InputRule", "fixed_input", "seeded"]

_SIZE_WORDS = ("smallest", "middle", "largest")


@dataclass(frozen=True)
class InputImage:
    """Objects of one image as the network gets them.

    Attributes:
        size: (height, width) of the input before padding.
        boxes: (G, 4) float64 XYXY, network-input pixels, clipped to the image; rotated ones (G, 5),
            centre x, y, width, height, angle in degrees.
        kept: (G,) index of each object in the image's annotations.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    kept: np.ndarray


class InputRule(Protocol):
    """How images become network input; ``description`` says it in words."""

    description: str

    def __call__(self, record: dict[str, Any]) -> InputImage:
        """Transform one record of a data set in Detectron2's format."""


@dataclass(frozen=True)
class FixedInput:
    """The training resize without anything random.

    Attributes:
        resize: ``ResizeShortestEdge`` with one size, ``Resize``, ``ResizeScale`` with scale 1, or
            None for images at their native size.
        pad_to: (height, width) to which smaller inputs are padded, None for none.
        description: the rule in words.
        object_aware: see :class:`AugmentedInput`.
        rotated: see :class:`AugmentedInput`.
    """

    resize: T.Augmentation | None
    pad_to: tuple[int, int] | None
    description: str
    object_aware: bool = False
    rotated: bool = False

    def __call__(self, record: dict[str, Any]) -> InputImage:
        size = _native_size(record)
        transform = T.NoOpTransform() if self.resize is None else _transform(self.resize, size)
        if isinstance(transform, T.ResizeTransform):
            size = (transform.new_h, transform.new_w)
        if self.pad_to is not None:
            size = tuple(max(a, b) for a, b in zip(size, self.pad_to, strict=True))
        return _input_image(record, transform, size, self.object_aware, self.rotated)


class AugmentedInput:
    """The config's training augmentation with its random draws, on a blank image."""

    def __init__(
        self,
        augmentations: Sequence[T.Augmentation],
        description: str,
        object_aware: bool = False,
        rotated: bool = False,
    ):
        """Take the augmentations of a mapper.

        Args:
            augmentations: as in Detectron2's ``DatasetMapper``.
            description: the rule in words.
            object_aware: whether, as in the SSD family's mapper, the augmentations see the boxes,
                objects whose centre leaves the image are dropped, and whole-numbered boxes are not
                cut to whole numbers when resized, as Detectron2's own mapper does.
            rotated: whether boxes are kept rotated, as Detectron2's
                ``annotations_to_instances_rotated`` does.
        """
        self.augmentations = T.AugmentationList(augmentations)
        self.description = description
        self.object_aware = object_aware
        self.rotated = rotated

    def __call__(self, record: dict[str, Any]) -> InputImage:
        objects = [a for a in record["annotations"] if not a.get("iscrowd", 0)]
        boxes = native_boxes(objects) if self.object_aware else None
        aug_input = _BlankInput(_blank(_native_size(record)), boxes=boxes)
        transforms = self.augmentations(aug_input)
        size = aug_input.image.shape[:2]
        return _input_image(record, transforms, size, self.object_aware, self.rotated)


class _BlankInput(T.AugInput):
    """An image of which only the shape is known, where a transform's effect on it is known."""

    def transform(self, tfm: T.Transform) -> None:
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        self.image = _blank(self._shape_after(tfm))

    def _shape_after(self, tfm: T.Transform) -> tuple[int, int]:
        height, width = self.image.shape[:2]
        if isinstance(tfm, T.TransformList) and not tfm.transforms:
            return height, width
        if isinstance(tfm, T.ResizeTransform):
            return tfm.new_h, tfm.new_w
        if isinstance(tfm, T.PadTransform):
            return height + tfm.y0 + tfm.y1, width + tfm.x0 + tfm.x1
        if isinstance(tfm, (T.HFlipTransform, T.VFlipTransform, T.NoOpTransform)):
            return height, width
        return tfm.apply_image(np.zeros((height, width, 3), dtype=np.uint8)).shape[:2]


def _blank(size: tuple[int, int]) -> np.ndarray:
    """A view of one value that has the shape of an image."""
    return np.broadcast_to(np.uint8(0), (*size, 3))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix the generators that augmentations draw from, and put their state back afterwards."""
    with restored_random_state():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield


def fixed_input(
    augmentations: Sequence[T.Augmentation],
    size: str | int = "middle",
    object_aware: bool = False,
    rotated: bool = False,
) -> FixedInput:
    """The resize of a list of augmentations, at one size.

    Args:
        augmentations: the config's training augmentations.
        size: for ``ResizeShortestEdge`` its shorter edge: ``"smallest"``, ``"middle"`` (the upper
            median of a choice, the middle of a range), ``"largest"`` of the config's, or pixels.
        object_aware: see :class:`AugmentedInput`.
        rotated: see :class:`AugmentedInput`.

    Raises:
        ConfigError: if ``size`` is none of these, or pixels for a resize to a fixed size.
    """
    if size not in _SIZE_WORDS and not (isinstance(size, int) and size > 0):
        raise ConfigError(
            f"the input size must be {', '.join(_SIZE_WORDS)} or a number of pixels above 0; "
            f"got {size!r}."
        )
    resize, words, pad_to = None, "native size", None
    for augmentation in _flat(augmentations):
        if isinstance(augmentation, T.ResizeShortestEdge):
            edge = _short_edge(augmentation, size)
            resize = T.ResizeShortestEdge(edge, augmentation.max_size) if edge else None
            words = f"shorter edge {edge} px, longer at most {augmentation.max_size} px"
            words = words if edge else "native size"
        elif isinstance(augmentation, T.Resize):
            resize = augmentation
            words = "warped to {1} x {0} px (width x height)".format(*augmentation.shape)
        elif isinstance(augmentation, T.ResizeScale):
            height, width = augmentation.target_height, augmentation.target_width
            resize = T.ResizeScale(1.0, 1.0, height, width)
            words = f"fitted into {width} x {height} px (scale 1)"
        elif isinstance(augmentation, T.FixedSizeCrop) and augmentation.pad:
            pad_to = tuple(augmentation.crop_size)
            words += f", padded to {pad_to[1]} x {pad_to[0]} px"
    if isinstance(size, int) and not isinstance(resize, T.ResizeShortestEdge):
        raise ConfigError(f"an input size of {size} pixels does not fit this config: {words}.")
    return FixedInput(resize, pad_to, f"{words}; no random augmentation", object_aware, rotated)


def native_boxes(annotations: Sequence[dict[str, Any]], rotated: bool = False) -> np.ndarray:
    """(G, 4) float64 boxes of annotations, XYXY, native pixels.

    Args:
        annotations: G, in Detectron2's format.
        rotated: (G, 5) instead: centre x, y, width, height, angle; of upright boxes it is 0.
    """
    mode = BoxMode.XYWHA_ABS if rotated else BoxMode.XYXY_ABS
    boxes = [
        BoxMode.convert(list(map(float, a["bbox"])), a["bbox_mode"], mode) for a in annotations
    ]
    return np.array(boxes, dtype=np.float64).reshape(-1, 5 if rotated else 4)


def _short_edge(augmentation: T.ResizeShortestEdge, size: str | int) -> int:
    if isinstance(size, int):
        return size
    edges = sorted(augmentation.short_edge_length)
    if size == "middle":
        return sum(edges) // 2 if augmentation.is_range else edges[len(edges) // 2]
    return edges[0] if size == "smallest" else edges[-1]


def _flat(augmentations: Sequence[Any]) -> Iterator[Any]:
    for augmentation in augmentations:
        if isinstance(augmentation, T.AugmentationList):
            yield from _flat(augmentation.augs)
        else:
            yield augmentation


def _native_size(record: dict[str, Any]) -> tuple[int, int]:
    height, width = record.get("height"), record.get("width")
    if not height or not width:
        raise DataError(
            f"image {record.get('image_id')!r} has no width and height in the annotations; the "
            "match report needs them, since it opens no images."
        )
    return int(height), int(width)


def _transform(augmentation: T.Augmentation, size: tuple[int, int]) -> T.Transform:
    return augmentation.get_transform(_blank(size))


def _input_image(
    record: dict[str, Any],
    transform: T.Transform,
    size: tuple[int, int],
    object_aware: bool,
    rotated: bool,
) -> InputImage:
    annotations = record["annotations"]
    if rotated:
        return _rotated_input_image(annotations, transform, size)
    boxes = native_boxes(annotations)
    if len(boxes):
        whole = np.array([_is_whole(a) for a in annotations]) & (not object_aware)
        native, boxes = boxes, transform.apply_box(boxes)
        if whole.any():
            # Detectron2's transforms keep the type of the annotation.
            boxes[whole] = transform.apply_box(native[whole].astype(np.int64))
    height, width = size
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    outside = ((centres < 0) | (centres >= [width, height])).any(axis=1) & object_aware
    # As Detectron2's `transform_instance_annotations` and `filter_empty_instances`.
    boxes = np.minimum(boxes.clip(min=0), [width, height, width, height])
    crowd = np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool)
    empty = ((boxes[:, 2:] - boxes[:, :2]) <= 1e-5).any(axis=1)
    kept = np.flatnonzero(~crowd & ~empty & ~outside)
    return InputImage((int(height), int(width)), boxes[kept], kept)


def _rotated_input_image(
    annotations: Sequence[dict[str, Any]], transform: T.Transform, size: tuple[int, int]
) -> InputImage:
    boxes = native_boxes(annotations, rotated=True)
    if len(boxes):
        boxes = rotated_boxes_after(transform, boxes)
    # As Detectron2's `annotations_to_instances_rotated` and `filter_empty_instances`.
    gt_boxes = as_boxes(boxes)
    gt_boxes.clip(size)
    crowd = np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool)
    kept = np.flatnonzero(~crowd & gt_boxes.nonempty(1e-5).numpy())
    boxes = gt_boxes.tensor.double().numpy()
    return InputImage((int(size[0]), int(size[1])), boxes[kept], kept)


def _is_whole(annotation: dict[str, Any]) -> bool:
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    return np.asarray(box).dtype.kind in "iu"
