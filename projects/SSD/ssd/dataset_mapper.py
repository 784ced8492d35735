"""From a record of a data set to SSD's input."""

import copy
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances

from scb_d2.data.images import check_pixel_range, read_image
from scb_d2.data.mapper import MAPPER_REGISTRY, CheckedDatasetMapper, readable_image_errors

from .augmentation import build_ssd_augmentations

__all__ = ["SSDDatasetMapper"]


@MAPPER_REGISTRY.register()
class SSDDatasetMapper(CheckedDatasetMapper):
    """Detectron2's mapper for boxes only, whose augmentations see the boxes.

    Without them Detectron2's ``MinIoURandomCrop`` does nothing. Objects whose centre left the image
    are dropped, the others clipped to it. Crowds are dropped as in Detectron2; objects that VOC
    calls difficult are kept, as in Caffe's SSD.
    """

    # Read by the match report, which repeats this mapper's work without images.
    object_aware = True
    """For the match report: augmentations see the boxes, and the rule of the centre applies."""

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """See :func:`build_ssd_augmentations` for the keys."""
        return {
            "is_train": is_train,
            "augmentations": build_ssd_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "pixel_range": check_pixel_range(cfg.INPUT.get("PIXEL_RANGE", ())),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """See :meth:`detectron2.data.DatasetMapper.__call__`.

        Raises:
            ImageError: if the image is missing, unreadable or of another size than annotated.
        """
        with readable_image_errors(dataset_dict):
            return self._map(copy.deepcopy(dataset_dict))

    def _map(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        image = read_image(dataset_dict["file_name"], self.image_format, self.pixel_range)
        utils.check_image_size(dataset_dict, image)
        annotations = dataset_dict.pop("annotations", None)
        if not self.is_train:
            annotations = None
        objects = [x for x in annotations or () if not x.get("iscrowd", 0)]
        boxes = [BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS) for x in objects]
        aug_input = T.AugInput(image, boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4))
        self.augmentations(aug_input)
        image = aug_input.image
        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if annotations is not None:
            classes = [x["category_id"] for x in objects]
            dataset_dict["instances"] = _instances(aug_input.boxes, classes, image.shape[:2])
        return dataset_dict


def _instances(boxes: np.ndarray, classes: list[int], image_size: tuple[int, int]) -> Instances:
    """The objects whose centre is inside the image, clipped to it."""
    size = np.array(image_size[::-1])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = torch.from_numpy(((centres >= 0) & (centres < size)).all(axis=1))
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    instances.gt_boxes.clip(image_size)
    return utils.filter_empty_instances(instances[inside])
