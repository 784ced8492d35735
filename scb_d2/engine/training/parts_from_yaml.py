"""A YAML config as the parts of a run; the same functions as :mod:`.parts_from_lazy`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer, hooks
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from scb_d2.data.mapper import build_mapper
from scb_d2.evaluation.build import build_evaluator
from scb_d2.evaluation.tiled_detection import TiledModel, tile_settings
from scb_d2.modeling.build import build_model

from .loader import build_train_loader as build_loader
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


def run_settings(cfg: CfgNode) -> RunSettings:
    """The plain settings of a config."""
    return RunSettings(
        output_dir=cfg.OUTPUT_DIR,
        weights=cfg.MODEL.WEIGHTS,
        device=cfg.MODEL.DEVICE,
        seed=cfg.SEED,
        max_iter=cfg.SOLVER.MAX_ITER,
        amp=cfg.SOLVER.AMP.ENABLED,
        ddp={"broadcast_buffers": False},
        cudnn_benchmark=cfg.CUDNN_BENCHMARK,
        checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
        max_to_keep=None,
        log_period=20,
        eval_period=cfg.TEST.EVAL_PERIOD,
        best_metric=cfg.TEST.BEST_METRIC,
        best_mode=cfg.TEST.BEST_MODE,
        patience=cfg.TEST.PATIENCE,
        expected_results=tuple(cfg.TEST.EXPECTED_RESULTS),
    )


def scaled_to_processes(cfg: CfgNode) -> CfgNode:
    """Batch, learning rate and periods for the processes there are, by ``REFERENCE_WORLD_SIZE``."""
    return DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())


def build_train_loader(cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
    """Training batches; with ``SEED`` >= 0 they follow from it."""
    return build_loader(cfg, build_mapper(cfg, True))


def evaluated_model(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model as evaluation runs it: tile by tile where ``TEST.TILES`` says so."""
    settings = tile_settings(cfg)
    return model if settings is None else TiledModel(model, build_mapper(cfg, False), settings)


def evaluated_names(cfg: CfgNode) -> Sequence[str]:
    """Data sets that are evaluated on."""
    return cfg.DATASETS.TEST


def build_test_loader(cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
    """The images of one of them."""
    return build_detection_test_loader(cfg, dataset_name, mapper=build_mapper(cfg, False))


def build_precise_bn(
    cfg: CfgNode, model: nn.Module, build_loader: Callable[[CfgNode], Iterable[Any]]
) -> hooks.PreciseBN | None:
    """The hook of ``TEST.PRECISE_BN``, with a loader of its own."""
    if not cfg.TEST.PRECISE_BN.ENABLED or not get_bn_modules(model):
        return None
    without_workers = cfg.clone()
    without_workers.defrost()
    without_workers.DATALOADER.NUM_WORKERS = 0  # saves memory and time
    loader = build_loader(without_workers)
    return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)
