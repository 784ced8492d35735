"""A LazyConfig as the parts of a run; the same functions as :mod:`.parts_from_yaml`."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from detectron2.config import instantiate
from detectron2.data import build_detection_train_loader
from detectron2.evaluation import DatasetEvaluator
from omegaconf import DictConfig, ListConfig
from torch import nn
from torch.optim import Optimizer

from scb_d2.engine.config.keys import target_of
from scb_d2.engine.config.lazy_data import test_dataset_name
from scb_d2.evaluation.tiled_detection import TiledModel, lazy_tile_settings
from scb_d2.utils.seeding import temporary_seed

from .loader import build_seeded_train_loader
from .settings import RunSettings

__all__ = [
    "build_evaluator",
    "build_lr_scheduler",
    "build_model",
    "build_optimizer",
    "build_precise_bn",
    "build_test_loader",
    "build_train_loader",
    "evaluated_model",
    "evaluated_names",
    "run_settings",
    "scaled_to_processes",
]


def run_settings(cfg: DictConfig) -> RunSettings:
    """The plain settings of a config: its ``train``."""
    train = cfg.train
    return RunSettings(
        output_dir=train.output_dir,
        weights=train.init_checkpoint,
        device=train.device,
        seed=train.seed,
        max_iter=train.max_iter,
        amp=train.amp.enabled,
        ddp=dict(train.ddp),
        cudnn_benchmark=train.cudnn_benchmark,
        checkpoint_period=train.checkpointer.period,
        max_to_keep=train.checkpointer.max_to_keep,
        log_period=train.log_period,
        eval_period=train.eval_period,
        best_metric=train.best_metric,
        best_mode=train.best_mode,
        patience=train.patience,
    )


def scaled_to_processes(cfg: DictConfig) -> DictConfig:
    """The config itself: nothing in it says for how many processes it is meant."""
    return cfg


def build_model(cfg: DictConfig) -> nn.Module:
    """The model on its device."""
    return instantiate(cfg.model).to(cfg.train.device)


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """The optimizer of the model's parameters."""
    optimizer = copy.deepcopy(cfg.optimizer)
    optimizer.params.model = model
    return instantiate(optimizer)


def build_lr_scheduler(cfg: DictConfig, optimizer: Optimizer) -> Any:
    """The factor on the learning rate, which Detectron2's hook joins to the optimizer."""
    return instantiate(cfg.lr_multiplier)


def build_train_loader(cfg: DictConfig) -> Iterable[Any]:
    """The config's own loader; with ``train.seed`` >= 0 Detectron2's gets a seeded twin."""
    loader, seed = cfg.dataloader.train, cfg.train.seed
    if seed < 0:
        return instantiate(loader)
    if target_of(loader) is build_detection_train_loader:
        loader = copy.deepcopy(loader)
        loader._target_ = build_seeded_train_loader
        loader.seed = seed
    with temporary_seed(seed):  # of which samplers take their seeds
        return instantiate(loader)


def evaluated_model(cfg: DictConfig, model: nn.Module) -> nn.Module:
    """The model as evaluation runs it: tile by tile where ``train.tiles`` says so."""
    settings = lazy_tile_settings(cfg.train.tiles)
    if settings is None:
        return model
    return TiledModel(model, instantiate(cfg.dataloader.test.mapper), settings)


def evaluated_names(cfg: DictConfig) -> Sequence[str]:
    """The data set that is evaluated on; none where the config has no evaluator."""
    return [test_dataset_name(cfg)] if "evaluator" in cfg.dataloader else []


def build_test_loader(cfg: DictConfig, dataset_name: str) -> Iterable[Any]:
    """The config's own loader."""
    return instantiate(cfg.dataloader.test)


def build_evaluator(
    cfg: DictConfig, dataset_name: str, output_dir: str | None = None
) -> DatasetEvaluator | list[DatasetEvaluator]:
    """The config's own evaluator, or several, which know their folder."""
    evaluator = instantiate(cfg.dataloader.evaluator)
    return list(evaluator) if isinstance(evaluator, ListConfig) else evaluator


def build_precise_bn(
    cfg: DictConfig, model: nn.Module, build_loader: Callable[[DictConfig], Iterable[Any]]
) -> None:
    """None: LazyConfigs have no keys for it."""
