"""A run in small, with Detectron2's real parts, before anything of it is written."""

import contextlib
import inspect
import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.solver import LRMultiplier
from fvcore.common.param_scheduler import ParamScheduler
from torch import nn
from torch.optim import Optimizer

from scb_d2.engine.checkpoint import find_checkpoint
from scb_d2.engine.training.parts import Config, parts_of, run_settings
from scb_d2.errors import UserError
from scb_d2.utils.garbage import collection_paused
from scb_d2.utils.seeding import temporary_seed

from .checkpoint_fit import check_resume, check_start, check_weights_fit
from .data_report import check_run_data
from .explain import explained
from .keys import keys_of, with_value
from .reasons import meta_model
from .rehearsed_evaluation import rehearse_evaluation
from .rehearsed_training import rehearse_training
from .rough_arithmetic import RoughArithmetic
from .sample import sampled
from .settings import check_settings

__all__ = ["check_run", "rehearse"]

_LR_PLACES = 64


def check_run(
    cfg: Config, num_processes: int, *, resume: bool, eval_only: bool, rehearsal: bool = True
) -> None:
    """Check a run before anything is written: its settings, its model, its data, and a rehearsal.

    Args:
        cfg: the whole config.
        num_processes: number of processes that share a batch.
        resume: the run continues from its output folder if that holds a checkpoint.
        eval_only: the run evaluates and does not train.
        rehearsal: whether to make the run's parts and try them.

    Raises:
        UserError: one sentence that names the key or file.
    """
    check_settings(cfg, num_processes, resume=resume, eval_only=eval_only)
    if rehearsal:
        with _quiet():
            explained("the model", _meta_model, cfg, keys_of(cfg, ("MODEL",), ("model",)))
    with collection_paused():  # of millions of annotations
        explained(
            "the check of the data",
            lambda c: check_run_data(c, train=not eval_only),
            cfg,
            keys_of(cfg, ("INPUT",), ("dataloader.train.mapper", "dataloader.test.mapper")),
        )
        if rehearsal:
            rehearse(cfg, resume=resume, eval_only=eval_only)


def rehearse(cfg: Config, *, resume: bool, eval_only: bool) -> None:
    """Try every part of a run on a few of its images; nothing is written.

    In this order: the model; optimizer, gradient clipping and schedule; what is resumed, or
    evaluated, against the model; the training's loader and mapper; the losses of a step in small,
    and the step; a detection, and the evaluators without detections; the weights to start from.

    Args:
        cfg: the whole config, whose data sets were checked.
        resume: the run continues from its output folder if that holds a checkpoint.
        eval_only: the run evaluates and does not train.

    Raises:
        UserError: one sentence: what was made, from which keys, what it said.
    """
    sample = sampled(cfg, train=not eval_only)
    with _quiet(), temporary_seed(0), sample as few, RoughArithmetic():
        keys = keys_of(few, ("MODEL",), ("model",))
        model = explained("the model", parts_of(few).build_model, few, keys)
        optimizer = None if eval_only else _rehearse_optimizer(few, model)
        if resume:
            check_resume(cfg, model, optimizer)
        elif eval_only:
            check_weights_fit(cfg, model)
        if not eval_only:
            rehearse_training(few, model, on_gpu=run_settings(cfg).device.startswith("cuda"))
        if parts_of(cfg).evaluated_names(cfg):
            rehearse_evaluation(cfg, few, model)
        if not eval_only and not (resume and find_checkpoint(run_settings(cfg).output_dir)):
            check_start(cfg, model)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the parts log and print is of the run itself, which will do so too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _meta_model(cfg: Config) -> nn.Module:
    try:
        return meta_model(cfg)
    except UserError:
        raise
    except Exception:  # code of the user's own may need real tensors
        key, *_ = keys_of(cfg, ("MODEL.DEVICE",), ("train.device",))
        return parts_of(cfg).build_model(with_value(cfg, key, "cpu"))


def _rehearse_optimizer(few: Config, model: nn.Module) -> Optimizer:
    keys = keys_of(few, ("SOLVER",), ("optimizer",))
    optimizer = explained("the optimizer", lambda cfg: _checked_optimizer(cfg, model), few, keys)
    keys = keys_of(few, ("SOLVER",), ("lr_multiplier", "optimizer"))
    explained(
        "the learning rate's schedule", lambda cfg: _check_learning_rates(cfg, model), few, keys
    )
    return optimizer


def _checked_optimizer(cfg: Config, model: nn.Module) -> Optimizer:
    """The optimizer, whose class looks at the values of each group as it does at its defaults."""
    optimizer = parts_of(cfg).build_optimizer(cfg, model)
    known = inspect.signature(type(optimizer)).parameters
    for group in optimizer.param_groups:
        values = {name: group[name] for name in optimizer.defaults if name in known}
        with contextlib.suppress(TypeError):  # a class of the user's own may need more
            type(optimizer)([nn.Parameter(torch.zeros(1))], **values)
    return optimizer


def _check_learning_rates(cfg: Config, model: nn.Module) -> None:
    optimizer = parts_of(cfg).build_optimizer(cfg, model)
    max_iter = run_settings(cfg).max_iter
    scheduler = parts_of(cfg).build_lr_scheduler(cfg, optimizer)
    if isinstance(scheduler, ParamScheduler):
        scheduler = LRMultiplier(optimizer, scheduler, max_iter)
    if not isinstance(scheduler, LRMultiplier):
        return
    for place in range(_LR_PLACES):
        scheduler.last_epoch = place * max_iter // _LR_PLACES
        for rate in scheduler.get_lr():
            if not math.isfinite(rate) or rate < 0:
                raise ValueError(
                    f"the learning rate is {rate:g} at iteration {scheduler.last_epoch}"
                )
