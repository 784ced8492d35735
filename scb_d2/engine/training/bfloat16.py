"""Mixed precision on the CPU, which Detectron2's trainer has on GPUs only."""

import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scb_d2.errors import RunError

from .nonfinite import GuardedTrainer

__all__ = ["GuardedBFloat16Trainer", "lay_out_for_bfloat16"]


def lay_out_for_bfloat16(model: nn.Module) -> nn.Module:
    """Order the weights of convolutions by channels last, in place; their values stay.

    oneDNN's convolutions in bfloat16 are faster so; ``python -m benchmarks --only bfloat16``.
    """
    return model.to(memory_format=torch.channels_last)


class GuardedBFloat16Trainer(GuardedTrainer):
    """:class:`GuardedTrainer` whose forward pass runs under ``torch.autocast("cpu")`` in bfloat16.

    Weights, their gradients, losses and the optimizer stay float32. bfloat16 has the range of
    float32, so gradients need no scaling.
    """

    def __init__(self, model: nn.Module, data_loader: Iterable[Any], optimizer: Optimizer) -> None:
        """Args as in Detectron2's ``SimpleTrainer``."""
        super().__init__(model, data_loader, optimizer)
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
                module.register_forward_pre_hook(_RefuseTinyMaps(name))

    def run_step(self) -> None:
        # As SimpleTrainer's, which gives no place to put the autocast around the model alone.
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = self.model(data)
        if isinstance(losses, Tensor):
            losses = {"total_loss": losses}
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.after_backward()
        self._write_metrics(losses, data_time)
        self.optimizer.step()


class _RefuseTinyMaps:
    """PyTorch 2.14 leaves a part of the gradient of such a convolution unset on CPUs.

    Its weights would get what the memory held.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        height, width = inputs[0].shape[-2:]
        if min(height, width) < max(module.stride) and torch.is_autocast_enabled("cpu"):
            raise RunError(
                f"{self.name} gets a map of {height} x {width}, where PyTorch's bfloat16 gives "
                "wrong gradients on CPUs; train on larger images or without AMP."
            )
