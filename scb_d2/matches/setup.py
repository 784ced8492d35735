"""From a config file, YAML or LazyConfig, to what a match report needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from detectron2.config import instantiate
from detectron2.data import transforms as T
from omegaconf import OmegaConf
from torch import nn

from scb_d2.data.checks.classes import dataset_classes
from scb_d2.data.checks.datasets import check_dataset, check_name
from scb_d2.data.checks.extras import check_keypoints
from scb_d2.data.mapper import build_mapper
from scb_d2.data.reader.catalog import read_dataset
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import find_config_file, load_config
from scb_d2.engine.config.ranges import check_ranges
from scb_d2.errors import ConfigError, DataError
from scb_d2.modeling.build import build_model

__all__ = ["MatchSetup", "load_all_records", "load_records", "load_setup"]

_ABOUT_FILES = ("missing-folder", "missing-image", "unreadable-image")
_HEADERS = 16


@dataclass(frozen=True)
class MatchSetup:
    """A config, reduced to what decides its matches.

    Attributes:
        model: the detector on the CPU, weights not loaded.
        augmentations: of training, in order.
        object_aware: see :class:`scb_d2.matches.network_input.AugmentedInput`.
        dataset_names: what the config trains on.
        form: weight form; alpha and beta likewise.
        alpha: see ``form``.
        beta: see ``form``.
        enabled: whether the config weights a loss at all.
    """

    model: nn.Module
    augmentations: list[T.Augmentation]
    object_aware: bool
    dataset_names: tuple[str, ...]
    form: str
    alpha: float
    beta: float
    enabled: bool


def load_setup(config_file: str, opts: list[str]) -> MatchSetup:
    """Load a config as ``train_net.py`` does and build its detector on the CPU.

    Args:
        config_file: YAML or LazyConfig ``.py``; a path or a name of Detectron2's model zoo.
        opts: overrides: KEY VALUE pairs for YAML, ``key=value`` for a ``.py``.

    Raises:
        UserError: one sentence.
    """
    path = find_config_file(config_file)
    return _lazy_setup(path, opts) if path.endswith(".py") else _yaml_setup(path, opts)


def load_records(name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Images of a registered data set in Detectron2's format, and its class names.

    Annotations keep their ``id``; those without one are numbered from 1 in order. Image files need
    not exist; the headers of a few that do are read, for their sizes are where objects lie.

    Raises:
        DataError: if the data set is unknown, malformed or without objects.
    """
    check_name(name, "--dataset or DATASETS.TRAIN")
    report = check_dataset(name, evaluation=False, headers=_HEADERS)
    boxes_only = [f for f in report.findings if f.code not in _ABOUT_FILES]
    replace(report, findings=boxes_only).raise_first_error()
    records = read_dataset(name).images
    if not any(record.get("annotations") for record in records):
        raise DataError(f"the data set {name!r} has no annotated objects to match.")
    return records, dataset_classes(name)


def load_all_records(names: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """:func:`load_records` of several data sets, which must have the same classes.

    Raises:
        DataError: if they have not, and as there.
    """
    records: list[dict[str, Any]] = []
    class_names: list[str] | None = None
    for name in names:
        more, classes = load_records(name)
        if class_names is not None and classes != class_names:
            raise DataError(f"the data sets {names[0]!r} and {name!r} have different classes.")
        records, class_names = records + more, classes
    return records, class_names or []


def _yaml_setup(path: str, opts: list[str]) -> MatchSetup:
    on_cpu = [] if len(opts) % 2 else ["MODEL.DEVICE", "cpu"]  # a key without a value is told
    cfg = load_config(path, [*opts, *on_cpu])
    check_ranges(cfg, eval_only=True)
    check_keypoints(cfg, cfg.DATASETS.TRAIN)
    mapper, scb = build_mapper(cfg, True), cfg.MODEL.SCB
    return MatchSetup(
        model=_built(lambda: build_model(cfg)),
        augmentations=_augmentations(mapper, "INPUT.MAPPER"),
        object_aware=getattr(mapper, "object_aware", False),
        dataset_names=tuple(cfg.DATASETS.TRAIN),
        form=scb.FORM,
        alpha=float(scb.ALPHA),
        beta=float(scb.BETA),
        enabled=bool(scb.ENABLED),
    )


def _lazy_setup(path: str, opts: list[str]) -> MatchSetup:
    cfg = load_lazy_config(path, opts)
    check_ranges(cfg, eval_only=True)
    model = _built(lambda: instantiate(cfg.model).to("cpu"))
    weights = [module.object_weight for module in model.modules() if _weighted(module)]
    mapper = instantiate(OmegaConf.select(cfg, "dataloader.train.mapper"))
    names = OmegaConf.select(cfg, "dataloader.train.dataset.names") or ()
    found = weights[0] if weights else None
    return MatchSetup(
        model=model,
        augmentations=_augmentations(mapper, "dataloader.train.mapper"),
        object_aware=getattr(mapper, "object_aware", False),
        dataset_names=(names,) if isinstance(names, str) else tuple(names),
        form=getattr(found, "form", "information"),
        alpha=getattr(found, "alpha", 1.0),
        beta=getattr(found, "beta", 3.0),
        enabled=bool(weights),
    )


def _augmentations(mapper: Any, key: str) -> list[T.Augmentation]:
    augmentations = getattr(mapper, "augmentations", None)
    if not isinstance(augmentations, T.AugmentationList):
        raise ConfigError(
            f"{key} is a {type(mapper).__name__} without the attribute augmentations of "
            "Detectron2's DatasetMapper, from which the match report takes the input size."
        )
    return list(augmentations.augs)


def _weighted(module: nn.Module) -> bool:
    return getattr(module, "object_weight", None) is not None


def _built(build: Any) -> nn.Module:
    try:
        return build()
    except (KeyError, AssertionError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"the config's model cannot be built: {reason}") from error
