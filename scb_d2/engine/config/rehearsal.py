"""Checks of a run before anything is written."""

import os

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from scb_d2.data.checks.datasets import check_datasets
from scb_d2.engine.checkpoint import find_checkpoint
from scb_d2.errors import ConfigError
from scb_d2.evaluation.build import check_evaluators, max_dets_per_image
from scb_d2.evaluation.coco_backend import coco_eval_class
from scb_d2.evaluation.recall_evaluator import recall_settings
from scb_d2.evaluation.tiled_detection import tile_settings
from scb_d2.modeling.build import check_model

__all__ = [
    "check_batch_size",
    "check_best_metric",
    "check_output_dir",
    "check_patience",
    "check_run",
    "check_weights",
]


def check_run(cfg: CfgNode, num_processes: int, *, resume: bool, eval_only: bool) -> None:
    """Check that a run can start: architecture, weights, batch size, data, evaluators.

    Args:
        cfg: the whole config.
        num_processes: number of processes that share a batch.
        resume: the run continues from ``OUTPUT_DIR`` if it holds a checkpoint.
        eval_only: the run evaluates and does not train.

    Raises:
        UserError: one sentence that names the key or file.
    """
    check_model(cfg)
    check_output_dir(cfg.OUTPUT_DIR, "OUTPUT_DIR")
    check_weights(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS", cfg.OUTPUT_DIR, resume)
    if eval_only and not cfg.DATASETS.TEST:
        raise ConfigError("--eval-only needs a data set in DATASETS.TEST, which is empty.")
    if not eval_only:
        _check_solver(cfg, num_processes)
    check_best_metric(
        cfg.TEST.BEST_METRIC,
        cfg.TEST.BEST_MODE,
        "TEST.BEST_METRIC",
        "TEST.BEST_MODE",
        bool(cfg.DATASETS.TEST),
    )
    check_patience(
        cfg.TEST.PATIENCE,
        cfg.TEST.BEST_METRIC,
        cfg.TEST.EVAL_PERIOD,
        ("TEST.PATIENCE", "TEST.BEST_METRIC", "TEST.EVAL_PERIOD"),
    )
    if cfg.TEST.AUG.ENABLED and cfg.MODEL.META_ARCHITECTURE != "GeneralizedRCNN":
        raise ConfigError(
            "TEST.AUG.ENABLED works with MODEL.META_ARCHITECTURE GeneralizedRCNN only; got "
            f"{cfg.MODEL.META_ARCHITECTURE}."
        )
    check_datasets(cfg, train=not eval_only)
    check_evaluators(cfg.DATASETS.TEST)
    recall_settings(cfg)
    coco_eval_class(cfg.TEST.COCO_BACKEND)
    max_dets_per_image(cfg)
    tile_settings(cfg)


def check_output_dir(path: str, key: str) -> None:
    """Check that the folder of a run is there or can be made.

    Raises:
        ConfigError: naming ``key`` and what is in the way.
    """
    if "://" in path:
        return
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise ConfigError(f"{key} {path!r} cannot be a folder: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{key} {path!r} cannot be written: {existing} allows no files.")


def check_weights(weights: str, key: str, output_dir: str, resume: bool) -> None:
    """Check that local weights exist, unless the run resumes from a checkpoint instead.

    Raises:
        ConfigError: naming ``key`` and the file.
    """
    if resume and find_checkpoint(output_dir):
        return
    path = weights.partition("?")[0]  # Detectron2 takes options of loading after a "?"
    try:
        missing = bool(path) and not PathManager.isfile(path)
    except NotImplementedError:  # an address that tells nothing before it is fetched
        return
    if missing:
        raise ConfigError(f"{key}: the file {path} does not exist.")


def check_batch_size(batch: int, key: str, num_processes: int) -> None:
    """Check that every process gets the same number of images.

    Raises:
        ConfigError: naming ``key`` and both numbers.
    """
    if batch < 1 or batch % num_processes:
        raise ConfigError(
            f"{key} must be a multiple of the number of processes, {num_processes}; got {batch}."
        )


def check_best_metric(
    metric: str, mode: str, metric_key: str, mode_key: str, has_test_data: bool
) -> None:
    """Check the keys of the best checkpoint.

    Raises:
        ConfigError: naming the key.
    """
    if mode not in ("max", "min"):
        raise ConfigError(f"{mode_key} must be max or min; got {mode!r}.")
    if metric and not has_test_data:
        raise ConfigError(f"{metric_key} is {metric}, but there is no data set to evaluate on.")


def check_patience(
    patience: int, metric: str, eval_period: int, keys: tuple[str, str, str]
) -> None:
    """Check the number of evaluations without a new best value.

    Args:
        patience: 0 or how many.
        metric: the best checkpoint's; "" where that is off.
        eval_period: iterations between evaluations.
        keys: names of the three.

    Raises:
        ConfigError: naming the key.
    """
    if not isinstance(patience, int) or patience < 0:
        raise ConfigError(f"{keys[0]} must be 0 (off) or a number of evaluations; got {patience}.")
    if patience and not metric:
        raise ConfigError(f"{keys[0]} is {patience}, but {keys[1]} names no metric to watch.")
    if patience and eval_period < 1:
        raise ConfigError(f"{keys[0]} is {patience}, but {keys[2]} {eval_period} never evaluates.")


def _check_solver(cfg: CfgNode, num_processes: int) -> None:
    solver = cfg.SOLVER
    if solver.MAX_ITER < 1:
        raise ConfigError(f"SOLVER.MAX_ITER must be at least 1; got {solver.MAX_ITER}.")
    batch, reference = solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE
    if reference == 0:
        check_batch_size(batch, "SOLVER.IMS_PER_BATCH", num_processes)
    elif reference < 0 or batch < 1 or batch % reference:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {batch} must be a multiple of SOLVER.REFERENCE_WORLD_SIZE "
            f"{reference}; set that to 0 to switch the automatic scaling off."
        )
