"""Checks of a run before anything is written."""

import os

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from ..errors import ConfigError
from ..modeling.build import scale_balanced_config
from .evaluators import check_evaluators

__all__ = ["check_run"]


def check_run(cfg: CfgNode, num_processes: int, *, resume: bool, eval_only: bool) -> None:
    """Check that a run can start: architecture, data, weights, batch size, evaluators.

    Args:
        cfg: a config whose data sets are registered.
        num_processes: number of processes that share a batch.
        resume: the run continues from ``OUTPUT_DIR`` if it holds a checkpoint.
        eval_only: the run evaluates and does not train.

    Raises:
        UserError: one sentence that names the key or file.
    """
    scale_balanced_config(cfg)
    _check_weights(cfg, resume)
    if eval_only and not cfg.DATASETS.TEST:
        raise ConfigError("--eval-only needs a data set in DATASETS.TEST, which is empty.")
    if not eval_only:
        if not cfg.DATASETS.TRAIN:
            raise ConfigError("training needs a data set in DATASETS.TRAIN, which is empty.")
        _check_schedule(cfg, num_processes)
    check_evaluators(cfg.DATASETS.TEST)
    if cfg.TEST.AUG.ENABLED and cfg.MODEL.META_ARCHITECTURE != "GeneralizedRCNN":
        raise ConfigError(
            "TEST.AUG.ENABLED works with MODEL.META_ARCHITECTURE GeneralizedRCNN only; got "
            f"{cfg.MODEL.META_ARCHITECTURE}."
        )
    if cfg.TEST.BEST_METRIC and not cfg.DATASETS.TEST:
        raise ConfigError("TEST.BEST_METRIC needs a data set in DATASETS.TEST, which is empty.")
    if cfg.TEST.BEST_MODE not in ("max", "min"):
        raise ConfigError(f"TEST.BEST_MODE must be max or min; got {cfg.TEST.BEST_MODE!r}.")


def _check_weights(cfg: CfgNode, resume: bool) -> None:
    weights = cfg.MODEL.WEIGHTS
    if resume and os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        return
    if weights and "://" not in weights and not PathManager.isfile(weights):
        raise ConfigError(f"MODEL.WEIGHTS: the file {weights} does not exist.")


def _check_schedule(cfg: CfgNode, num_processes: int) -> None:
    solver = cfg.SOLVER
    if solver.MAX_ITER < 1:
        raise ConfigError(f"SOLVER.MAX_ITER must be at least 1; got {solver.MAX_ITER}.")
    batch, reference = solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE
    if batch < 1:
        raise ConfigError(f"SOLVER.IMS_PER_BATCH must be at least 1; got {batch}.")
    if reference > 0:
        if batch % reference:
            raise ConfigError(
                f"SOLVER.IMS_PER_BATCH {batch} cannot be divided by SOLVER.REFERENCE_WORLD_SIZE "
                f"{reference}; choose a multiple of it, or 0 to switch the automatic scaling off."
            )
    elif batch % num_processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {batch} cannot be divided among {num_processes} processes; "
            f"choose a multiple of {num_processes}."
        )
