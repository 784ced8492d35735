"""What the data sets of a LazyConfig hold, and what its parts ask of them."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.evaluation import COCOEvaluator
from omegaconf import DictConfig, ListConfig, OmegaConf

from scb_d2.data.checks.classes import check_reported_classes, check_same_classes
from scb_d2.data.checks.datasets import check_each, check_name
from scb_d2.data.checks.extras import (
    check_federated_loss,
    check_semantic_masks,
    check_sigmas,
    mirrors,
)
from scb_d2.data.checks.needs import Needs, needs_of_mappers
from scb_d2.data.checks.report import DatasetReport
from scb_d2.data.reader.catalog import load_through_reader
from scb_d2.data.registration import count_images_of_classes, register_blood_cells
from scb_d2.errors import ConfigError

from .keys import lazy_calls, plain, target_of, value_of

__all__ = [
    "check_lazy_agreement",
    "lazy_dataset_reports",
    "register_lazy_datasets",
    "test_dataset_name",
]

logger = logging.getLogger(__name__)

_TRAIN_NAMES, _TEST_NAMES = "dataloader.train.dataset.names", "dataloader.test.dataset.names"
_TRAIN_MAPPER, _TEST_MAPPER = "dataloader.train.mapper", "dataloader.test.mapper"
_HOW = "in the config file with scb_d2.data.register_coco and its like"
_NUM_CLASSES = ("model.num_classes", "model.roi_heads.num_classes")
_FED_LOSS_CLASSES = 50  # the default of Detectron2's FastRCNNOutputLayers


def register_lazy_datasets(cfg: DictConfig) -> None:
    """Register the embedded photographs, and let the config's data sets be read by this package.

    As :func:`scb_d2.data.registration.register_datasets` does for YAML configs; data sets of the
    user's own are registered by calls in the file.
    """
    register_blood_cells()
    if len(_names(cfg, _TEST_NAMES)) == 1:  # of a list too, which evaluators cannot read
        OmegaConf.update(cfg, _TEST_NAMES, _names(cfg, _TEST_NAMES)[0])
    load_through_reader(_names(cfg, _TRAIN_NAMES) + _names(cfg, _TEST_NAMES))
    if any(value for _, value in _arguments(cfg, "use_fed_loss")):
        count_images_of_classes(_names(cfg, _TRAIN_NAMES))


def test_dataset_name(cfg: DictConfig) -> str:
    """Name of the test data set, ``"test"`` where the config does not tell."""
    names = _names(cfg, _TEST_NAMES)
    return names[0] if len(names) == 1 else "test"


def lazy_dataset_reports(
    cfg: DictConfig, *, train: bool = True, headers: int | None = None
) -> list[DatasetReport]:
    """As :func:`scb_d2.data.checks.datasets.dataset_reports`, for a LazyConfig.

    Raises:
        DataError: if a data set is not registered.
        ConfigError: if the mapper or evaluator does not suit the model's keypoints, or images are
            scaled otherwise in training than in evaluation.
    """
    train_names = _names(cfg, _TRAIN_NAMES) if train else []
    test_names = _names(cfg, _TEST_NAMES)
    for key, names in ((_TRAIN_NAMES, train_names), (_TEST_NAMES, test_names)):
        for name in names:
            check_name(name, key, _HOW)
    if train_names and test_names:
        _check_same_pixels(cfg)
    _check_evaluated(cfg, test_names)
    needs = _needs(cfg)
    if needs.num_keypoints:
        _check_keypoints(cfg, needs, train)
    return check_each(train_names, test_names, headers, needs)


def check_lazy_agreement(cfg: DictConfig, reports: Sequence[DatasetReport]) -> None:
    """As :func:`scb_d2.data.checks.datasets.check_agreement`, for a LazyConfig.

    Raises:
        DataError: naming the data sets, or the key of the number of classes.
        ConfigError: if the federated loss samples more classes than there are.
    """
    for key, head in _arguments(cfg, "sem_seg_head"):
        if head is not None:
            check_semantic_masks(_names(cfg, _TRAIN_NAMES), f"{key}.sem_seg_head")
    check_same_classes(reports)
    for key in _NUM_CLASSES:
        num_classes = value_of(cfg, key)
        if isinstance(num_classes, int):
            check_reported_classes(num_classes, reports, key)
    for key, is_used in _arguments(cfg, "use_fed_loss"):
        if is_used:
            sampled = value_of(cfg, f"{key}.fed_loss_num_classes")
            sampled = _FED_LOSS_CLASSES if sampled is None else sampled
            check_federated_loss(sampled, _names(cfg, _TRAIN_NAMES), f"{key}.fed_loss_num_classes")


def _needs(cfg: DictConfig) -> Needs:
    mappers = [value_of(cfg, key) for key in (_TRAIN_MAPPER, _TEST_MAPPER)]
    _, num_keypoints = next(_arguments(cfg, "num_keypoints"), ("", 0))
    return needs_of_mappers(
        *(m if isinstance(m, DictConfig) else {} for m in mappers),
        num_keypoints=num_keypoints if isinstance(num_keypoints, int) else 0,
        min_keypoints=value_of(cfg, "dataloader.train.dataset.min_keypoints") or 0,
    )


def _check_evaluated(cfg: DictConfig, test_names: Sequence[str]) -> None:
    """Check that the evaluator's data set is that of the images it is given."""
    for evaluator in _evaluators(cfg):
        if not isinstance(evaluator, DictConfig) or "dataset_name" not in evaluator:
            continue
        name = evaluator.dataset_name
        if not isinstance(name, str):
            raise ConfigError(
                f"dataset_name of dataloader.evaluator must name one data set; got {plain(name)!r}."
            )
        check_name(name, "dataset_name of dataloader.evaluator", _HOW)
        if test_names and name not in test_names:
            logger.warning(
                "dataloader.evaluator has the objects of %s, and the images are of %s.",
                name,
                ", ".join(test_names),
            )


def _evaluators(cfg: DictConfig) -> list[Any]:
    found = value_of(cfg, "dataloader.evaluator")
    return list(found) if isinstance(found, ListConfig) else [found]


def _check_same_pixels(cfg: DictConfig) -> None:
    found = [plain(value_of(cfg, f"{key}.pixel_range")) for key in (_TRAIN_MAPPER, _TEST_MAPPER)]
    if list(found[0] or ()) != list(found[1] or ()):
        raise ConfigError(
            f"{_TRAIN_MAPPER}.pixel_range is {found[0]!r} and {_TEST_MAPPER}.pixel_range is "
            f"{found[1]!r}: the network would be tested on other pixels than it is trained on."
        )


def _check_keypoints(cfg: DictConfig, needs: Needs, train: bool) -> None:
    if train and mirrors(needs.train_resize):
        key = f"{_TRAIN_MAPPER}.keypoint_hflip_indices"
        indices = value_of(cfg, key)
        if indices is None or len(indices) != needs.num_keypoints:
            raise ConfigError(
                f"{key} must hold one number for each of the {needs.num_keypoints} keypoints, as "
                "create_keypoint_hflip_indices of detectron2.data.detection_utils makes them of "
                f"registered names; got {plain(indices)!r}."
            )
    for evaluator in _evaluators(cfg):
        kind = target_of(evaluator)
        if isinstance(kind, type) and issubclass(kind, COCOEvaluator):
            sigmas = plain(evaluator.get("kpt_oks_sigmas"))
            check_sigmas(sigmas, needs.num_keypoints, "kpt_oks_sigmas of dataloader.evaluator")


def _names(cfg: DictConfig, key: str) -> list[str]:
    names = OmegaConf.select(cfg, key)
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def _arguments(cfg: DictConfig, name: str) -> Iterator[tuple[str, Any]]:
    """Keys of the model's LazyCalls that are given an argument, and its value."""
    for call in lazy_calls(cfg, "model"):
        if name in value_of(cfg, call):
            yield call, value_of(cfg, f"{call}.{name}")
