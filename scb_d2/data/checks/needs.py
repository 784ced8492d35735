"""What a model and its mapper ask of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode, instantiate
from detectron2.data import detection_utils
from detectron2.data import transforms as T

from scb_d2.data.images import check_pixel_range
from scb_d2.data.mapper import MAPPER_REGISTRY, CheckedDatasetMapper

__all__ = ["Needs", "needs_of", "needs_of_mappers"]


@dataclass(frozen=True)
class Needs:
    """Which parts of annotations are used, and how images are read.

    Attributes:
        masks: whether masks are trained and evaluated.
        mask_format: ``polygon`` or ``bitmask``.
        num_keypoints: keypoints of an object that are trained and evaluated; 0 for none.
        min_keypoints: visible ones that an image must have to be trained on.
        pixel_range: see :func:`scb_d2.data.images.read_image`.
        train_resize: augmentations of training that may resize.
        test_resize: likewise of evaluation.
    """

    masks: bool = False
    mask_format: str = "polygon"
    num_keypoints: int = 0
    min_keypoints: int = 0
    pixel_range: Sequence[float] = ()
    train_resize: Sequence[T.Augmentation] = ()
    test_resize: Sequence[T.Augmentation] = ()


def needs_of(cfg: CfgNode) -> Needs:
    """The needs of a YAML config.

    Raises:
        ConfigError: if ``INPUT.PIXEL_RANGE`` is none.
    """
    name = cfg.INPUT.MAPPER
    mapper: Any = MAPPER_REGISTRY.get(name) if name in MAPPER_REGISTRY else None
    # Of others it is not known how they resize.
    known = mapper is CheckedDatasetMapper
    head = cfg.MODEL.ROI_KEYPOINT_HEAD
    with_keypoints = cfg.MODEL.KEYPOINT_ON
    return Needs(
        masks=cfg.MODEL.MASK_ON,
        mask_format=cfg.INPUT.MASK_FORMAT,
        num_keypoints=head.NUM_KEYPOINTS if with_keypoints else 0,
        min_keypoints=head.MIN_KEYPOINTS_PER_IMAGE if with_keypoints else 0,
        pixel_range=check_pixel_range(cfg.INPUT.get("PIXEL_RANGE", ())),
        train_resize=_resize(cfg, True) if known else (),
        test_resize=_resize(cfg, False) if known else (),
    )


def needs_of_mappers(
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    *,
    num_keypoints: int = 0,
    min_keypoints: int = 0,
) -> Needs:
    """The needs of the mappers of a LazyConfig, before they are built.

    Args:
        train: arguments of the mapper of training; empty where there is none.
        test: likewise of evaluation.
        num_keypoints: see :class:`Needs`.
        min_keypoints: likewise.

    Raises:
        ConfigError: if ``pixel_range`` is none.
    """
    either = train or test
    return Needs(
        masks=bool(either.get("use_instance_mask")),
        mask_format=either.get("instance_mask_format", "polygon"),
        num_keypoints=num_keypoints,
        min_keypoints=min_keypoints,
        pixel_range=check_pixel_range(tuple(either.get("pixel_range") or ()), "pixel_range"),
        train_resize=_built_resize(train),
        test_resize=_built_resize(test),
    )


def _built_resize(mapper: Mapping[str, Any]) -> list[T.Augmentation]:
    try:
        return [instantiate(node) for node in mapper.get("augmentations") or ()]
    except Exception:  # said when the mapper itself is built
        return []


def _resize(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    try:
        return detection_utils.build_augmentation(cfg, is_train)
    except (AssertionError, IndexError, TypeError, ValueError):
        return []  # said when the mapper itself is built
