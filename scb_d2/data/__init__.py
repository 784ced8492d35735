"""Data: the synthetic shapes, registration from the config, and checks before training."""

from .checks.datasets import check_dataset, check_datasets
from .mapper import CheckedDatasetMapper
from .registration import (
    register_coco,
    register_datasets,
    register_shapes,
    register_voc,
    register_yolo,
)
from .rotated_mapper import RotatedDatasetMapper

__all__ = [
    "CheckedDatasetMapper",
    "RotatedDatasetMapper",
    "check_dataset",
    "check_datasets",
    "register_coco",
    "register_datasets",
    "register_shapes",
    "register_voc",
    "register_yolo",
]
