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
from omegaconf import DictConfig
from torch import nn

from scb_d2.data.registration import register_datasets
from scb_d2.utils.needless_warnings import log_hidden_warnings
from scb_d2.utils.user_errors import hide_user_tracebacks, report_user_errors

from .arguments import train_net_parser
from .checkpoint import SafeCheckpointer, find_checkpoint
from .config.lazy import check_lazy_run, load_lazy_config, use_available_lazy_device
from .config.load import find_config_file, load_config
from .config.rehearsal import check_run
from .processes import check_flags, check_processes, launch, world_size
from .training.lazy_trainer import LazyTrainer
from .training.parts import set_up_run
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
    start = _start_lazy if args.config_file.endswith(".py") else _start_yaml
    start(args)


def _start_yaml(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, args.opts)
    check_processes(args, cfg.MODEL.DEVICE)
    check_run(cfg, world_size(args), resume=args.resume, eval_only=args.eval_only)
    launch(_run_yaml, args, cfg.MODEL.DEVICE, (cfg, args))


def _start_lazy(args: argparse.Namespace) -> None:
    cfg = load_lazy_config(args.config_file, args.opts)
    use_available_lazy_device(cfg)
    check_processes(args, cfg.train.device)
    check_lazy_run(cfg, world_size(args), resume=args.resume, eval_only=args.eval_only)
    launch(_run_lazy, args, cfg.train.device, (args, cfg.train.device, cfg.train.amp.enabled))


def _run_yaml(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Train or evaluate in one process of possibly many."""
    register_datasets(cfg)
    _set_up_process(cfg, args, cfg.OUTPUT_DIR)
    if args.eval_only:
        _evaluate(cfg, args)
    else:
        _train(cfg, args)


def _run_lazy(args: argparse.Namespace, device: str, amp: bool) -> None:
    """As :func:`_run_yaml`; a LazyConfig may hold objects that cannot be sent to a process."""
    cfg = load_lazy_config(args.config_file, args.opts)
    cfg.train.device, cfg.train.amp.enabled = device, amp
    _set_up_process(cfg, args, cfg.train.output_dir)
    if args.eval_only:
        model = LazyTrainer.build_model(cfg)
        _load_weights(model, cfg.train.init_checkpoint, cfg.train.output_dir, args.resume)
        LazyTrainer.test(cfg, model)
    else:
        trainer = LazyTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()


def _set_up_process(cfg: CfgNode | DictConfig, args: argparse.Namespace, output_dir: str) -> None:
    rank = comm.get_rank()
    _log_to_screen(rank)
    set_up_run(cfg, args)
    setup_logger(output_dir, distributed_rank=rank, name="scb_d2", configure_stdout=False)
    log_hidden_warnings(output_dir, rank)
    hide_user_tracebacks()


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
    _load_weights(model, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, args.resume)
    results = Trainer.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(Trainer.test_with_augmentation(cfg, model))
    if comm.is_main_process():
        verify_results(cfg, results)


def _load_weights(model: nn.Module, weights: str, output_dir: str, resume: bool) -> None:
    """Load what ``--eval-only`` evaluates: ``weights``, or with ``--resume`` the run's last."""
    own = find_checkpoint(output_dir) if resume else ""
    SafeCheckpointer(model, output_dir).load(own or weights, checkpointables=[])
