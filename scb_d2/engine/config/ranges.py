"""Ranges of plain values with which a run starts but gives nothing sensible."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from detectron2.config import CfgNode

from scb_d2.engine.training.parts import Config
from scb_d2.errors import ConfigError

from .keys import changed_keys, lazy_leaves, value_of

__all__ = ["check_ranges"]

_MOST_WORKERS = max(64, 8 * (os.cpu_count() or 1))

_Range = tuple[str, Callable[[float], bool]]
_SHARE: _Range = ("from 0 to 1", lambda x: 0 <= x <= 1)
_COUNT: _Range = ("at least 1, or -1 for all", lambda x: x >= 1 or x == -1)
_ONE_OR_MORE: _Range = ("at least 1", lambda x: x >= 1)
_NOT_NEGATIVE: _Range = ("at least 0", lambda x: x >= 0)
_POSITIVE: _Range = ("above 0", lambda x: x > 0)

_RANGES: dict[str, _Range] = {
    "nms_thresh": _SHARE,
    "nms_thresh_test": _SHARE,
    "score_thresh_test": _SHARE,
    "test_nms_thresh": _SHARE,
    "test_score_thresh": _SHARE,
    "detections_per_image": _COUNT,
    "max_detections_per_image": _COUNT,
    "test_topk_per_image": _COUNT,
    "focal_loss_alpha": ("from 0 to 1, or -1 for off", lambda x: 0 <= x <= 1 or x == -1),
    "focal_loss_gamma": _NOT_NEGATIVE,
    "positive_fraction": _SHARE,
    "batch_size_per_image": _ONE_OR_MORE,
    "anchor_generator.sizes": _POSITIVE,
    "anchor_generator.aspect_ratios": _POSITIVE,
    "num_workers": (
        f"at most {_MOST_WORKERS} on this machine's {os.cpu_count()} processors",
        lambda x: x <= _MOST_WORKERS,
    ),
}
"""By the ends of keys, in small letters; lists, none of them empty, by each of their numbers."""

_TRAINING_RANGES: dict[str, _Range] = {
    "solver.momentum": ("at least 0 and below 1", lambda x: 0 <= x < 1),
    "optimizer.momentum": ("at least 0 and below 1", lambda x: 0 <= x < 1),
    "warmup_iters": _NOT_NEGATIVE,
    "warmup_factor": _NOT_NEGATIVE,
    "weight_decay_norm": _NOT_NEGATIVE,
    "checkpoint_period": _ONE_OR_MORE,
    "precise_bn.num_iter": _ONE_OR_MORE,  # 0 makes statistics of nothing
    "checkpointer.period": _ONE_OR_MORE,
}
"""What evaluation alone does not read."""


def check_ranges(cfg: Config, *, eval_only: bool) -> None:
    """Check the values of which any would do for those who read them.

    Args:
        cfg: the whole config.
        eval_only: the run evaluates and does not train.

    Raises:
        ConfigError: naming the key, what was found and what is allowed.
    """
    ranges = _RANGES if eval_only else {**_RANGES, **_TRAINING_RANGES}
    for key, value in _leaves(cfg):
        for end, (allowed, holds) in ranges.items():
            if not f".{key.lower()}".endswith(f".{end}"):
                continue
            numbers = list(_numbers(value))
            is_empty = isinstance(value, list | tuple) and not numbers
            if is_empty or not all(map(holds, numbers)):
                raise ConfigError(f"{key} must be {allowed}; got {value}.")


def _leaves(cfg: Config) -> Iterator[tuple[str, Any]]:
    if isinstance(cfg, CfgNode):
        for key in changed_keys(cfg, CfgNode()):
            yield key, value_of(cfg, key)
        return
    for group in ("model", "optimizer", "lr_multiplier", "dataloader", "train"):
        yield from lazy_leaves(cfg, group)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
