"""What no part of a run would refuse when it is made, and would be told of too late."""

import os

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils.file_io import PathManager

from scb_d2.engine.checkpoint import find_checkpoint
from scb_d2.engine.training.parts import Config, parts_of, run_settings
from scb_d2.engine.weights import missing_weights
from scb_d2.errors import ConfigError

from .explain import explained
from .keys import value_of
from .ranges import check_ranges

__all__ = ["check_settings", "key_of"]

_SEEDS = 2**32
_KEYS = {
    "output_dir": ("OUTPUT_DIR", "train.output_dir"),
    "weights": ("MODEL.WEIGHTS", "train.init_checkpoint"),
    "max_iter": ("SOLVER.MAX_ITER", "train.max_iter"),
    "batch": ("SOLVER.IMS_PER_BATCH", "dataloader.train.total_batch_size"),
    "checkpoint_period": ("SOLVER.CHECKPOINT_PERIOD", "train.checkpointer.period"),
    "log_period": ("", "train.log_period"),
    "eval_period": ("TEST.EVAL_PERIOD", "train.eval_period"),
    "best_metric": ("TEST.BEST_METRIC", "train.best_metric"),
    "best_mode": ("TEST.BEST_MODE", "train.best_mode"),
    "patience": ("TEST.PATIENCE", "train.patience"),
    "seed": ("SEED", "train.seed"),
}


def key_of(cfg: Config, setting: str) -> str:
    """The key that a setting of a run has in this kind of config."""
    return _KEYS[setting][not isinstance(cfg, CfgNode)]


def check_settings(cfg: Config, num_processes: int, *, resume: bool, eval_only: bool) -> None:
    """Check the plain values of a run against each other and against the disk.

    Args:
        cfg: the whole config.
        num_processes: number of processes that share a batch.
        resume: the run continues from its output folder if that holds a checkpoint.
        eval_only: the run evaluates and does not train.

    Raises:
        ConfigError: naming the key.
    """
    settings = run_settings(cfg)

    def key(name: str) -> str:
        return key_of(cfg, name)

    _check_output_dir(settings.output_dir, key("output_dir"))
    check_ranges(cfg, eval_only=eval_only)
    if not (resume and find_checkpoint(settings.output_dir)):
        _check_weights(settings.weights, key("weights"))
    evaluates = bool(parts_of(cfg).evaluated_names(cfg))
    if not evaluates and eval_only:
        raise ConfigError(_nothing_to_evaluate(cfg, "--eval-only"))
    if not evaluates and not isinstance(cfg, CfgNode) and settings.eval_period > 0:
        raise ConfigError(_nothing_to_evaluate(cfg, key("eval_period")))
    if settings.best_mode not in ("max", "min"):
        raise ConfigError(f"{key('best_mode')} must be max or min; got {settings.best_mode!r}.")
    metric, patience = settings.best_metric, settings.patience
    if metric and not evaluates:
        raise ConfigError(
            f"{key('best_metric')} is {metric}, but there is no data set to evaluate on."
        )
    if not isinstance(patience, int) or patience < 0:
        raise ConfigError(
            f"{key('patience')} must be 0 (off) or a number of evaluations; got {patience}."
        )
    if patience and not metric:
        raise ConfigError(
            f"{key('patience')} is {patience}, but {key('best_metric')} names no metric to watch."
        )
    if patience and settings.eval_period < 1:
        raise ConfigError(
            f"{key('patience')} is {patience}, but {key('eval_period')} {settings.eval_period} "
            "never evaluates."
        )
    if settings.seed + num_processes >= _SEEDS:
        raise ConfigError(
            f"{key('seed')} must be below {_SEEDS - num_processes}; got {settings.seed}."
        )
    if not eval_only:
        _check_length(cfg, num_processes)


def _nothing_to_evaluate(cfg: Config, what: str) -> str:
    if isinstance(cfg, CfgNode):
        return f"{what} needs a data set in DATASETS.TEST, which is empty."
    return (
        f"{what} needs dataloader.test and dataloader.evaluator; define them, or set "
        "train.eval_period=0 to train without evaluation."
    )


def _check_length(cfg: Config, num_processes: int) -> None:
    """Batch, iterations and periods for the processes that there will be."""
    if isinstance(cfg, CfgNode):
        if cfg.SOLVER.REFERENCE_WORLD_SIZE < 0:
            raise ConfigError(
                "SOLVER.REFERENCE_WORLD_SIZE must be 0 (off) or a number of processes; got "
                f"{cfg.SOLVER.REFERENCE_WORLD_SIZE}."
            )
        cfg = explained(
            "a schedule for the processes",
            lambda c: DefaultTrainer.auto_scale_workers(c, num_processes),
            cfg,
            ("SOLVER",),
        )
    batch = value_of(cfg, key_of(cfg, "batch"))
    whole = isinstance(batch, int)
    if batch is not None and (not whole or batch < 1 or batch % num_processes):
        multiple = f" and a multiple of the {num_processes} processes" if num_processes > 1 else ""
        raise ConfigError(f"{key_of(cfg, 'batch')} must be at least 1{multiple}; got {batch}.")
    settings = run_settings(cfg)
    if settings.max_iter < 1:
        raise ConfigError(f"{key_of(cfg, 'max_iter')} must be at least 1; got {settings.max_iter}.")
    if settings.log_period < 1:
        raise ConfigError(
            f"{key_of(cfg, 'log_period')} must be at least 1; got {settings.log_period}."
        )


def _check_output_dir(path: str, key: str) -> None:
    """Check that the folder of a run is there or can be made."""
    if "://" in path:
        return
    if not path:
        raise ConfigError(f"{key} must be the path of a folder; got {path!r}.")
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise ConfigError(f"{key} {path!r} cannot be a folder: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{key} {path!r} cannot be written: {existing} allows no files.")


def _check_weights(weights: str, key: str) -> None:
    """Check that local weights exist."""
    path = weights.partition("?")[0]  # Detectron2 takes options of loading after a "?"
    try:
        missing = bool(path) and not PathManager.isfile(path)
    except NotImplementedError:  # an address that tells nothing before it is fetched
        return
    if missing:
        what = missing_weights(path) if os.path.isdir(path) else f"the file {path} does not exist."
        raise ConfigError(f"{key}: {what}")
