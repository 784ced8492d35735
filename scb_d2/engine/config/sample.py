"""A few real images of a config's data sets, and the same ones in small."""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.build import (
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
)
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks
from omegaconf import DictConfig, OmegaConf
from torch.nn import functional as F

from scb_d2.data.reader.catalog import training_dicts

__all__ = ["FEW", "TINY", "first_that_works", "in_small", "sampled"]

T = TypeVar("T")

FEW = " (a few images)"
"""End of the names of data sets of a few images."""

TINY = 64 * 64
"""Pixels of a network input that is tried many times."""

_MOST_PIXELS = 224 * 224
_LAZY_NAMES = ("dataloader.train.dataset.names", "dataloader.test.dataset.names")


@contextmanager
def sampled(cfg: Any, *, train: bool) -> Iterator[Any]:
    """The same config on the CPU and on a few images: first, last, smallest, largest.

    They are data sets of their own in Detectron2's catalogs, for as long as the context lasts.

    Args:
        cfg: YAML config or LazyConfig.
        train: whether its training data will be used.

    Yields:
        A copy, with batches of two images.
    """
    made: list[str] = []
    try:
        if isinstance(cfg, CfgNode):
            yield _sampled_yaml(cfg, train, made)
        else:
            yield _sampled_lazy(cfg, train, made)
    finally:
        for name in made:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def _sampled_yaml(cfg: CfgNode, train: bool, made: list[str]) -> CfgNode:
    few = cfg.clone()
    few.defrost()
    few.MODEL.DEVICE = "cpu"
    few.SOLVER.AMP.ENABLED = False
    few.SOLVER.IMS_PER_BATCH = 2
    few.SOLVER.REFERENCE_WORLD_SIZE = 0
    few.TEST.PRECISE_BN.NUM_ITER = min(cfg.TEST.PRECISE_BN.NUM_ITER, 1)
    loader, keypoints = cfg.DATALOADER, cfg.MODEL.ROI_KEYPOINT_HEAD
    filters = (
        loader.FILTER_EMPTY_ANNOTATIONS,
        keypoints.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
    )
    names = cfg.DATASETS.TRAIN if train else ()
    few.DATASETS.TRAIN = tuple(_register(name, made, *filters) for name in names)
    few.DATASETS.TEST = tuple(_register(name, made) for name in cfg.DATASETS.TEST)
    factors = few.DATASETS.get("TRAIN_REPEAT_FACTOR", [])
    if factors and all(isinstance(factor, (list, tuple)) and factor for factor in factors):
        few.DATASETS.TRAIN_REPEAT_FACTOR = [
            [f"{factor[0]}{FEW}" if factor[0] in names else factor[0], *factor[1:]]
            for factor in factors
        ]
    return few


def _sampled_lazy(cfg: DictConfig, train: bool, made: list[str]) -> DictConfig:
    few = copy.deepcopy(cfg)
    few.train.device = "cpu"
    few.train.amp.enabled = False
    for key in _LAZY_NAMES if train else _LAZY_NAMES[1:]:
        names = OmegaConf.select(few, key)
        if names is None:
            continue
        is_train = key == _LAZY_NAMES[0]
        group = OmegaConf.select(few, key.rpartition(".")[0])
        filter_empty = is_train and bool(group.get("filter_empty", True))
        min_keypoints = int(group.get("min_keypoints", 0)) if is_train else 0
        names = [names] if isinstance(names, str) else list(names)
        sample = [_register(name, made, filter_empty, min_keypoints) for name in names]
        OmegaConf.update(few, key, sample if is_train else sample[0], force_add=True)
    if OmegaConf.select(few, "dataloader.train.total_batch_size") is not None:
        few.dataloader.train.total_batch_size = 2
    return few


def _register(
    name: str, made: list[str], filter_empty: bool = False, min_keypoints: int = 0
) -> str:
    """Put a few images of a data set into the catalogs, such as its training would see."""
    sample = name + FEW
    if sample in DatasetCatalog:  # tested on what it trains on
        return sample
    records = training_dicts(name)
    if not isinstance(records, list):
        records = list(itertools.islice(records, 2))
    usable = records
    if records and "annotations" in records[0]:  # as Detectron2's loader decides
        if filter_empty:
            usable = filter_images_with_only_crowd_annotations(usable)
        if min_keypoints > 0:
            usable = filter_images_with_few_keypoints(usable, min_keypoints)
    few = _ends(usable or records)
    DatasetCatalog.register(sample, lambda: copy.deepcopy(few))
    made.append(sample)
    about = MetadataCatalog.get(name).as_dict()
    MetadataCatalog.get(sample).set(**{key: about[key] for key in about if key != "name"})
    return sample


def _ends(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """First, last, smallest and largest image, each once."""
    if not records:
        return []
    by_size = sorted(range(len(records)), key=lambda i: _pixels(records[i]))
    chosen = dict.fromkeys([0, len(records) - 1, by_size[0], by_size[-1]])
    return [copy.deepcopy(records[i]) for i in chosen]


def _pixels(record: dict[str, Any]) -> int:
    return record.get("width", 0) * record.get("height", 0)


def first_that_works(*attempts: Callable[[], T]) -> T:
    """What the first attempt gives that raises nothing.

    Numbers that overflow need no other try, nor does what raises the same as the try before.

    Args:
        attempts: with larger inputs each.
    """
    *others, last = attempts
    said = ""
    for attempt in others:
        try:
            return attempt()
        except FloatingPointError:
            raise
        except Exception as error:
            if repr(error) == said:
                raise
            said = repr(error)
    return last()


def in_small(mapped: dict[str, Any], pixels: int = _MOST_PIXELS) -> dict[str, Any]:
    """Network input of fewer pixels, with its objects; smaller ones as they are.

    Args:
        mapped: what a mapper made of a record.
        pixels: about how many there are at most.
    """
    image = mapped.get("image")
    if not isinstance(image, torch.Tensor):  # of a mapper with a format of its own
        return mapped
    height, width = image.shape[-2:]
    scale = (pixels / (height * width)) ** 0.5
    if scale >= 1:
        return mapped
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = {**mapped, "image": _resized(image[None].float(), size)[0].to(image.dtype)}
    if "sem_seg" in mapped:
        sem_seg = mapped["sem_seg"]
        small["sem_seg"] = _resized(sem_seg[None, None].float(), size)[0, 0].to(sem_seg.dtype)
    for key in ("instances", "proposals"):
        if isinstance(mapped.get(key), Instances):
            small[key] = _scaled(mapped[key], size, (size[1] / width, size[0] / height))
    return small


def _resized(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(pixels, size=size, mode="nearest")


def _scaled(instances: Instances, size: tuple[int, int], factors: tuple[float, float]) -> Instances:
    small = Instances(size)
    for name, field in instances.get_fields().items():
        small.set(name, _scaled_field(field, size, factors))
    return small


def _scaled_field(field: Any, size: tuple[int, int], factors: tuple[float, float]) -> Any:
    if isinstance(field, Boxes):  # rotated ones too
        field = field.clone()
        field.scale(*factors)
    elif isinstance(field, BitMasks):
        field = BitMasks(_resized(field.tensor[None].float(), size)[0].bool())
    elif isinstance(field, PolygonMasks):
        pair = torch.tensor(factors, dtype=torch.float64).numpy()
        field = PolygonMasks(
            [[(p.reshape(-1, 2) * pair).reshape(-1) for p in mask] for mask in field.polygons]
        )
    elif isinstance(field, Keypoints):
        field = Keypoints(field.tensor * torch.tensor([*factors, 1.0]))
    return field
