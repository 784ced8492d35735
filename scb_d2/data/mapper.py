"""Detectron2's mapper with one rule for reading images, and clear words for those it cannot use."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.utils.registry import Registry
from PIL import UnidentifiedImageError

from scb_d2.errors import ConfigError, DataError

from .images import check_pixel_range, read_image, vanishes
from .reader.images import why_unreadable

__all__ = [
    "MAPPER_REGISTRY",
    "CheckedDatasetMapper",
    "ImageError",
    "build_mapper",
    "readable_image_errors",
]

logger = logging.getLogger(__name__)

MAPPER_REGISTRY = Registry("MAPPER")
"""Mappers by the name that ``INPUT.MAPPER`` gives, called with ``(cfg, is_train)``."""


class ImageError(DataError):
    """An image file is missing, unreadable or of another size than annotated.

    A data loader's worker process re-raises errors with its whole traceback as the message; this
    one keeps the sentence.
    """

    def __init__(self, message: str) -> None:
        if message.startswith("Caught "):
            message = message.rpartition(f"{type(self).__name__}: ")[2].strip()
        super().__init__(message)


@contextmanager
def readable_image_errors(dataset_dict: dict[str, Any]) -> Iterator[None]:
    """Turn what can go wrong with the image of a record into one sentence.

    Args:
        dataset_dict: a record in Detectron2's format.

    Raises:
        ImageError: if the image is missing, unreadable or of another size than annotated.
    """
    file_name, image_id = dataset_dict.get("file_name"), dataset_dict.get("image_id")
    where = f"The image {file_name} (image_id {image_id!r})"
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"{where} does not exist.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{where} is no image of a known format.") from error
    except SizeMismatchError as error:
        height, width = read_image(file_name).shape[:2]
        annotated = f"{dataset_dict['width']} x {dataset_dict['height']}"
        raise ImageError(
            f"{where} is {width} x {height} pixels (turned as its EXIF tag asks) and is "
            f"annotated as {annotated}."
        ) from error
    except OSError as error:
        raise ImageError(f"{where} cannot be read: {why_unreadable(error)}.") from error


@MAPPER_REGISTRY.register()
class CheckedDatasetMapper(DatasetMapper):
    """Detectron2's ``DatasetMapper``, whose output it gives.

    Images are read by :func:`scb_d2.data.images.read_image`. One that resizing would leave nothing
    of is passed over in training, and named otherwise.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
        pixel_range: Sequence[float] = (),
    ) -> None:
        """Take the arguments of :class:`detectron2.data.DatasetMapper` and one more.

        That is ``pixel_range``, see :func:`scb_d2.data.images.read_image`.
        """
        super().__init__(
            is_train,
            augmentations=augmentations,
            image_format=image_format,
            use_instance_mask=use_instance_mask,
            use_keypoint=use_keypoint,
            instance_mask_format=instance_mask_format,
            keypoint_hflip_indices=keypoint_hflip_indices,
            precomputed_proposal_topk=precomputed_proposal_topk,
            recompute_boxes=recompute_boxes,
        )
        self.pixel_range = check_pixel_range(pixel_range, "pixel_range")

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Detectron2's keys and ``INPUT.PIXEL_RANGE``."""
        pixel_range = check_pixel_range(cfg.INPUT.get("PIXEL_RANGE", ()))
        return {**super().from_config(cfg, is_train), "pixel_range": pixel_range}

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        """Map one record of a data set.

        Raises:
            ImageError: if its image is missing, unreadable or of another size than annotated, or
                outside training vanishes when it is resized.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        with readable_image_errors(dataset_dict):
            # Detectron2's method reads the image itself, so it cannot be told of another rule.
            image = read_image(dataset_dict["file_name"], self.image_format, self.pixel_range)
            utils.check_image_size(dataset_dict, image)
            sem_seg = self._sem_seg(dataset_dict)
        if vanishes(image.shape[:2], [self.augmentations]):
            sentence = _too_long(dataset_dict, image.shape)
            if not self.is_train:
                raise ImageError(sentence)
            logger.warning("%s It is passed over.", sentence)
            return None
        aug_input = T.AugInput(image, sem_seg=sem_seg)
        transforms = self.augmentations(aug_input)
        size = aug_input.image.shape[:2]
        dataset_dict["image"] = torch.as_tensor(
            np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        )
        if sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(aug_input.sem_seg.astype("long"))
        if self.proposal_topk is not None:
            utils.transform_proposals(
                dataset_dict, size, transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            dataset_dict.pop("annotations", None)
        elif "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, size)
        return dataset_dict

    def _sem_seg(self, dataset_dict: dict[str, Any]) -> np.ndarray | None:
        if "sem_seg_file_name" not in dataset_dict:
            return None
        return utils.read_image(dataset_dict.pop("sem_seg_file_name"), "L").squeeze(2)


def _too_long(record: dict[str, Any], shape: Sequence[int]) -> str:
    return (
        f"The image {record.get('file_name')} (image_id {record.get('image_id')!r}) of "
        f"{shape[1]} x {shape[0]} pixels is so long that resizing leaves nothing of it."
    )


def build_mapper(cfg: CfgNode, is_train: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The mapper that ``INPUT.MAPPER`` names.

    Raises:
        ConfigError: if no mapper of that name is registered.
    """
    name = cfg.INPUT.MAPPER
    if name not in MAPPER_REGISTRY:
        known = ", ".join(sorted(known for known, _ in MAPPER_REGISTRY))
        raise ConfigError(f"INPUT.MAPPER must be one of {known}; got {name!r}.")
    return MAPPER_REGISTRY.get(name)(cfg, is_train)
