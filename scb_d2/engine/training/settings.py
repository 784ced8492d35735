"""The plain settings of a run, the same for every kind of config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RunSettings"]


@dataclass(frozen=True)
class RunSettings:
    """Numbers and names that a trainer needs.

    Attributes:
        output_dir: folder of the run.
        weights: to start from, as ``MODEL.WEIGHTS``; "" for none.
        device: of the model.
        seed: of everything random; negative: not reproducible, as in Detectron2.
        max_iter: iterations in all.
        amp: whether to train in mixed precision.
        ddp: arguments of ``DistributedDataParallel``.
        cudnn_benchmark: whether cuDNN tries its kernels.
        checkpoint_period: iterations between checkpoints.
        max_to_keep: how many checkpoints stay; None: all.
        log_period: iterations between lines of the log and of ``metrics.json``.
        eval_period: iterations between evaluations; 0: only after the last one.
        best_metric: metric of the best weights; "" where they are not kept.
        best_mode: ``"max"`` or ``"min"``.
        patience: evaluations without a new best value to stop after; 0: never.
        expected_results: what the last evaluation must give, as in ``TEST.EXPECTED_RESULTS``.
    """

    output_dir: str
    weights: str
    device: str
    seed: int
    max_iter: int
    amp: bool
    ddp: Mapping[str, Any]
    cudnn_benchmark: bool
    checkpoint_period: int
    max_to_keep: int | None
    log_period: int
    eval_period: int
    best_metric: str
    best_mode: str
    patience: int
    expected_results: tuple[Any, ...] = ()
