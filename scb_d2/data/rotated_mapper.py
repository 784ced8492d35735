"""The mapper for detectors of rotated boxes; Detectron2 has none."""

from typing import Any

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from scb_d2.errors import ConfigError

from .mapper import MAPPER_REGISTRY, CheckedDatasetMapper

__all__ = ["RotatedDatasetMapper"]


@MAPPER_REGISTRY.register()
class RotatedDatasetMapper(CheckedDatasetMapper):
    """Keeps boxes rotated: centre x, y, width, height, angle in degrees (``BoxMode.XYWHA_ABS``).

    Upright boxes are those of angle 0. Masks and keypoints are left out. Resizing and horizontal
    flips are the augmentations that Detectron2 knows to apply to rotated boxes.
    """

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.Transform, image_shape: tuple[int, int]
    ) -> None:
        annotations = [x for x in dataset_dict.pop("annotations") if not x.get("iscrowd", 0)]
        for annotation in annotations:
            box = [float(x) for x in annotation["bbox"]]
            box = BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYWHA_ABS)
            annotation["bbox"] = rotated_boxes_after(transforms, np.array([box]))[0]
        instances = utils.annotations_to_instances_rotated(annotations, image_shape)
        dataset_dict["instances"] = utils.filter_empty_instances(instances)


def rotated_boxes_after(transforms: T.Transform, boxes: np.ndarray) -> np.ndarray:
    """(G, 5) rotated boxes once an image is transformed.

    Args:
        transforms: of the image.
        boxes: (G, 5) float64 centre x, y, width, height, angle in degrees.

    Raises:
        ConfigError: if Detectron2 does not know what one of the transforms does to them.
    """
    try:
        return transforms.apply_rotated_box(boxes.copy())
    except (AttributeError, NotImplementedError) as error:
        raise ConfigError(
            f"an augmentation of the config cannot be applied to rotated boxes: {error}."
        ) from error
