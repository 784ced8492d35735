"""The command line of ``train_net.py``."""

import argparse
import logging
import os
from collections.abc import Sequence

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, hooks
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..data.config import register_datasets
from .checks import check_run
from .distributed import check_processes, launch, world_size
from .reporting import hide_user_tracebacks, report_user_errors
from .setup import load_config
from .trainer import Trainer

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Train or evaluate as the flags say.

    Args:
        argv: the command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status.
    """
    args = default_argument_parser().parse_args(argv)
    return report_user_errors(lambda: _start(args))


def _start(args: argparse.Namespace) -> None:
    _log_to_screen(int(os.environ.get("RANK", 0)))
    cfg = load_config(args.config_file, args.opts)
    check_processes(args, cfg.MODEL.DEVICE)
    check_run(cfg, world_size(args), resume=args.resume, eval_only=args.eval_only)
    launch(_run, args, cfg.MODEL.DEVICE, (cfg, args))


def _run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Train or evaluate in one process of possibly many."""
    register_datasets(cfg)
    _log_to_screen(comm.get_rank())
    default_setup(cfg, args)
    setup_logger(
        cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="scb_d2", configure_stdout=False
    )
    hide_user_tracebacks()
    if args.eval_only:
        _evaluate(cfg, args)
    else:
        _train(cfg, args)


def _log_to_screen(rank: int) -> None:
    setup_logger(distributed_rank=rank, name="scb_d2")
    if rank > 0:  # else logging prints warnings of a logger without handlers
        logging.getLogger("scb_d2").addHandler(logging.NullHandler())


def _train(cfg: CfgNode, args: argparse.Namespace) -> None:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    if cfg.TEST.AUG.ENABLED:
        trainer.register_hooks(
            [hooks.EvalHook(0, lambda: trainer.test_with_augmentation(cfg, trainer.model))]
        )
    trainer.train()


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> None:
    model = Trainer.build_model(cfg)
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = Trainer.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(Trainer.test_with_augmentation(cfg, model))
    if comm.is_main_process():
        verify_results(cfg, results)
