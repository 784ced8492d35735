"""The training of a rehearsal: loader, mapper, the losses of two images, and a step."""

import itertools
from typing import Any

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.data import get_detection_dataset_dicts
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.optim import Optimizer

from scb_d2.data.mapper import build_mapper
from scb_d2.engine.training.parts import Config, parts_of

from .explain import Unexplained, explained
from .keys import keys_of
from .sample import TINY, first_that_works, in_small

__all__ = ["rehearse_training"]

_ROUNDING = 1 + 1e-5
_SOME = 64
"""Numbers of each gradient that are looked at before and after clipping."""


def rehearse_training(few: Config, model: nn.Module, on_gpu: bool) -> None:
    """Try loader and mapper on all images, losses and a step on two of them.

    Args:
        few: a config on a few images, on the CPU.
        model: built from it; its weights change.
        on_gpu: whether the run itself will train on a GPU.

    Raises:
        UserError: one sentence: what was made, from which keys, what it said.
    """
    loading = (
        "DATALOADER",
        "DATASETS",
        "INPUT",
        "MODEL.KEYPOINT_ON",
        "MODEL.MASK_ON",
        "MODEL.LOAD_PROPOSALS",
    )
    keys = keys_of(few, loading, ("dataloader.train",))
    explained("the training's loader", parts_of(few).build_train_loader, few, keys)
    keys = keys_of(few, loading, ("dataloader.train.mapper", "dataloader.train"))
    mapped = explained("the training's input", _training_input, few, keys)
    if not mapped:
        return
    try:
        _rehearse_step(few, model, _two_with_objects(mapped))
    except Unexplained as error:
        # Random weights may give what no others do, and the CPU lacks some of a GPU's operators.
        if not on_gpu and not isinstance(error.__cause__, FloatingPointError | NotImplementedError):
            raise


def _rehearse_step(few: Config, model: nn.Module, batch: list[dict[str, Any]]) -> None:
    def losses_of(cfg: Config) -> dict[str, Tensor]:
        if cfg is few:
            return _losses(model, batch)
        return _losses(parts_of(cfg).build_model(cfg), _batch(cfg))

    def update(cfg: Config) -> None:
        if cfg is few:
            _update(cfg, model, losses, batch)
        else:
            other, its_batch = parts_of(cfg).build_model(cfg), _batch(cfg)
            _update(cfg, other, _losses(other, its_batch), its_batch)

    data = ("model", "dataloader.train")
    keys = keys_of(few, ("MODEL", "INPUT"), data)
    losses = explained("a step of training", losses_of, few, keys, _losses_in_tiny)
    keys = keys_of(few, ("SOLVER", "TEST.PRECISE_BN", "MODEL", "INPUT"), ("optimizer", *data))
    explained("a step of training", update, few, keys, _update_in_tiny)


def _losses_in_tiny(cfg: Config) -> dict[str, Tensor]:
    model = parts_of(cfg).build_model(cfg)
    return _finite_losses(model, [in_small(x, TINY) for x in _batch(cfg)])


def _update_in_tiny(cfg: Config) -> None:
    model = parts_of(cfg).build_model(cfg)
    batch = [in_small(x, TINY) for x in _batch(cfg)]
    _update(cfg, model, _finite_losses(model, batch), batch)


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


def _batch(cfg: Config) -> list[dict[str, Any]]:
    return _two_with_objects(_training_input(cfg))


def _losses(model: nn.Module, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
    return first_that_works(
        lambda: _finite_losses(model, [in_small(x) for x in batch]),
        # What is right may be too small for the network, and one image too few for its norms.
        lambda: _finite_losses(model, batch[:1]),
        lambda: _finite_losses(model, batch),
    )


def _finite_losses(model: nn.Module, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
    model.train()
    with EventStorage():
        losses = model(batch)
    if not torch.isfinite(sum(losses.values())):
        values = ", ".join(f"{name} {float(value):g}" for name, value in losses.items())
        raise FloatingPointError(f"the loss is not finite ({values})")
    return losses


def _update(
    cfg: Config, model: nn.Module, losses: dict[str, Tensor], batch: list[dict[str, Any]]
) -> None:
    optimizer = parts_of(cfg).build_optimizer(cfg, model)
    with EventStorage():
        optimizer.zero_grad()
        sum(losses.values()).backward()
        _clipped_step(optimizer)
    precise_bn = parts_of(cfg).build_precise_bn(cfg, model, lambda _: [batch])
    if precise_bn is not None:
        precise_bn.update_stats()


def _clipped_step(optimizer: Optimizer) -> None:
    """A step, in which gradients may become smaller, as clipping makes them."""
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    before = [_some_sizes(parameter.grad) for parameter in trained]
    optimizer.step()
    for parameter, sizes in zip(trained, before, strict=True):
        if (_some_sizes(parameter.grad) > sizes * _ROUNDING).any():
            raise ValueError("clipping makes gradients larger")


def _some_sizes(gradient: Tensor) -> Tensor:
    return gradient.flatten()[:_SOME].abs()
