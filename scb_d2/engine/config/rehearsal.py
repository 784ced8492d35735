"""A run in small, with Detectron2's real parts, before anything of it is written."""

import contextlib
import inspect
import io
import itertools
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.data import get_detection_dataset_dicts
from detectron2.solver import LRMultiplier
from detectron2.utils.events import EventStorage
from fvcore.common.param_scheduler import ParamScheduler
from torch import nn
from torch.optim import Optimizer

from scb_d2.data.mapper import build_mapper
from scb_d2.engine.checkpoint import find_checkpoint
from scb_d2.engine.training.parts import Config, parts_of, run_settings
from scb_d2.errors import UserError
from scb_d2.utils.garbage import collection_paused
from scb_d2.utils.seeding import temporary_seed

from .checkpoint_fit import check_resume, check_start, check_weights_fit
from .data_report import check_run_data
from .explain import Unexplained, explained
from .keys import keys_of, with_value
from .reasons import meta_model
from .rehearsed_evaluation import rehearse_evaluation
from .sample import in_small, sampled
from .settings import check_settings

__all__ = ["check_run", "rehearse"]

_LR_PLACES = 64
_ROUNDING = 1 + 1e-5


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
    with _quiet(), temporary_seed(0), sampled(cfg, train=not eval_only) as few:
        keys = keys_of(few, ("MODEL",), ("model",))
        model = explained("the model", parts_of(few).build_model, few, keys)
        optimizer = None if eval_only else _rehearse_optimizer(few, model)
        if resume:
            check_resume(cfg, model, optimizer)
        elif eval_only:
            check_weights_fit(cfg, model)
        if not eval_only:
            _rehearse_step(few, model, on_gpu=run_settings(cfg).device.startswith("cuda"))
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


def _rehearse_step(few: Config, model: nn.Module, on_gpu: bool) -> None:
    """Loader and mapper on all images, losses and a step on two of them."""
    loading = (
        "DATALOADER",
        "DATASETS",
        "INPUT",
        "MODEL.KEYPOINT_ON",
        "MODEL.MASK_ON",
        "MODEL.LOAD_PROPOSALS",
    )
    parts = parts_of(few)
    keys = keys_of(few, loading, ("dataloader.train",))
    explained("the training's loader", parts.build_train_loader, few, keys)
    keys = keys_of(few, loading, ("dataloader.train.mapper", "dataloader.train"))
    mapped = explained("the training's input", _training_input, few, keys)
    if not mapped:
        return

    def step(cfg: Config) -> None:
        if cfg is few:
            _step(cfg, model, _two_with_objects(mapped))
        else:
            _step(cfg, parts.build_model(cfg), _two_with_objects(_training_input(cfg)))

    keys = keys_of(
        few,
        ("MODEL", "INPUT", "SOLVER", "TEST.PRECISE_BN"),
        ("model", "dataloader.train", "optimizer"),
    )
    try:
        explained("a step of training", step, few, keys)
    except Unexplained as error:
        # Random weights may give what no others do, and the CPU lacks some of a GPU's operators.
        if not on_gpu and not isinstance(error.__cause__, FloatingPointError | NotImplementedError):
            raise


def _training_input(cfg: Config) -> list[dict[str, Any]]:
    """The mapper's output for each image; none where the loader is not Detectron2's."""
    if isinstance(cfg, CfgNode):
        files = cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None
        records = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=False, proposal_files=files
        )
        mapper = build_mapper(cfg, True)
    else:
        loader = cfg.dataloader.train
        if not {"dataset", "mapper"} <= set(loader) or "names" not in loader.dataset:
            return []
        records, mapper = instantiate(loader.dataset), instantiate(loader.mapper)
    mapped = [mapper(record) for record in records]
    return [x for x in mapped if isinstance(x, dict)]


def _two_with_objects(mapped: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two images, of the same shape of batch whatever there is; rather such with objects."""
    by_objects = sorted(mapped, key=lambda x: len(x.get("instances", ())) == 0)
    return list(itertools.islice(itertools.cycle(by_objects), 2))


def _step(cfg: Config, model: nn.Module, batch: list[dict[str, Any]]) -> None:
    optimizer = parts_of(cfg).build_optimizer(cfg, model)
    model.train()
    with EventStorage():
        try:
            losses = model([in_small(x) for x in batch])
        except Exception:  # what is right may be too small for the network
            losses = model(batch)
        total = sum(losses.values())
        if not torch.isfinite(total):
            values = ", ".join(f"{name} {float(value):g}" for name, value in losses.items())
            raise FloatingPointError(f"the loss is not finite ({values})")
        optimizer.zero_grad()
        total.backward()
        _clipped_step(optimizer)
    precise_bn = parts_of(cfg).build_precise_bn(cfg, model, lambda _: [batch])
    if precise_bn is not None:
        precise_bn.update_stats()


def _clipped_step(optimizer: Optimizer) -> None:
    """A step, in which gradients may become smaller, as clipping makes them."""
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    before = [parameter.grad.abs() for parameter in trained]
    optimizer.step()
    for parameter, size in zip(trained, before, strict=True):
        if (parameter.grad.abs() > size * _ROUNDING).any():
            raise ValueError("clipping makes gradients larger")
