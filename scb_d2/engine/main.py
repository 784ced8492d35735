"""The command line of ``train_net.py``."""

import argparse
import logging
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from scb_d2.data.reader.catalog import reading_once
from scb_d2.data.registration import register_datasets
from scb_d2.projects import import_projects
from scb_d2.utils.needless_warnings import log_hidden_warnings
from scb_d2.utils.user_errors import hide_user_tracebacks, report_user_errors

from .checkpoint import SafeCheckpointer, find_checkpoint
from .config.checkpoint_fit import check_same_start
from .config.lazy import load_lazy_config, use_available_lazy_device
from .config.load import find_config_file, load_config
from .config.rehearsal import check_run
from .flags import train_net_parser
from .processes import (
    check_flags,
    check_processes,
    is_first_local_process,
    launch,
    spawns_processes,
    world_size,
)
from .run_folder import set_up_run
from .training.parts import Config, run_settings
from .training.trainer import Trainer

__all__ = ["main", "run"]


def main(argv: Sequence[str] | None = None) -> int:
    """Train or evaluate as the flags say.

    Args:
        argv: the command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status.
    """
    return run(train_net_parser().parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """As :func:`main`, with the flags parsed by :func:`train_net_parser`."""
    return report_user_errors(lambda: _start(args))


def _start(args: argparse.Namespace) -> None:
    _log_to_screen(int(os.environ.get("RANK", 0)))
    args.config_file = find_config_file(args.config_file)
    check_flags(args)
    is_lazy = args.config_file.endswith(".py")
    if is_lazy:
        cfg = load_lazy_config(args.config_file, args.opts)
        use_available_lazy_device(cfg)
    else:
        cfg = load_config(args.config_file, args.opts)
    settings = run_settings(cfg)
    check_processes(args, settings.device)
    with reading_once() as kept:
        check_run(
            cfg,
            world_size(args),
            resume=args.resume,
            eval_only=args.eval_only,
            rehearsal=not args.no_rehearsal and is_first_local_process(),
        )
        spawns = spawns_processes(args)
        if spawns:
            kept.clear()
        # A LazyConfig may hold objects that cannot be sent to a process.
        sent = None if is_lazy and spawns else cfg
        launch(_run, args, settings.device, (args, sent, settings.device, settings.amp))


def _run(args: argparse.Namespace, cfg: Config | None, device: str, amp: bool) -> None:
    """Train or evaluate in one process of possibly many.

    Args:
        args: the flags.
        cfg: the config; None: the LazyConfig that the flags name.
        device: that a LazyConfig runs on.
        amp: whether a LazyConfig trains in mixed precision.
    """
    if cfg is None:
        cfg = load_lazy_config(args.config_file, args.opts)
        cfg.train.device, cfg.train.amp.enabled = device, amp
    elif isinstance(cfg, CfgNode):  # in a process of its own nothing is registered
        import_projects()
        register_datasets(cfg)
    check_same_start(run_settings(cfg).output_dir, args.resume)
    _set_up_process(cfg, args)
    if args.eval_only:
        _evaluate(cfg, args)
    else:
        _train(cfg, args)


def _set_up_process(cfg: Config, args: argparse.Namespace) -> None:
    rank, output_dir = comm.get_rank(), run_settings(cfg).output_dir
    _log_to_screen(rank)
    set_up_run(cfg, args)
    setup_logger(output_dir, distributed_rank=rank, name="scb_d2", configure_stdout=False)
    log_hidden_warnings(output_dir, rank)
    hide_user_tracebacks()


def _log_to_screen(rank: int) -> None:
    setup_logger(distributed_rank=rank, name="scb_d2")
    if rank > 0:  # else logging prints warnings of a logger without handlers
        logging.getLogger("scb_d2").addHandler(logging.NullHandler())


def _train(cfg: Config, args: argparse.Namespace) -> None:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    if _tests_with_augmentation(cfg):
        trainer.register_hooks(
            [hooks.EvalHook(0, lambda: trainer.test_with_augmentation(cfg, trainer.model))]
        )
    trainer.train()


def _evaluate(cfg: Config, args: argparse.Namespace) -> None:
    """Evaluate the config's weights, or with ``--resume`` the run's last."""
    settings = run_settings(cfg)
    model = Trainer.build_model(cfg)
    own = find_checkpoint(settings.output_dir) if args.resume else ""
    SafeCheckpointer(model, settings.output_dir).load(own or settings.weights, checkpointables=[])
    results = Trainer.test(cfg, model)
    if _tests_with_augmentation(cfg):
        results.update(Trainer.test_with_augmentation(cfg, model))
    if settings.expected_results and comm.is_main_process():
        verify_results(cfg, results)


def _tests_with_augmentation(cfg: Config) -> bool:
    return isinstance(cfg, CfgNode) and cfg.TEST.AUG.ENABLED
