"""A network's costly arithmetic in rough, for what asks only whether it works at all."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["RoughArithmetic"]

_aten = torch.ops.aten
_LARGE = 2**14
"""Multiplications of a convolution, and random weights, from which on there is work to save."""


class RoughArithmetic(TorchDispatchMode):
    """A context in which convolutions, their gradients and random weights cost next to nothing.

    They become rows of random numbers, repeated: of the shapes, dtypes and about the root mean
    square of the true ones. What is not finite stays so, and what raises an error raises it. All
    else, and all that is not on the CPU, is computed as ever.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        rough = _ROUGH.get(func) if args and _is_ordinary(args[0]) else None
        result = None if rough is None else rough(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is None else result


def _is_ordinary(x: Any) -> bool:
    return isinstance(x, Tensor) and x.device.type == "cpu" and x.is_floating_point()


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor | None:
    """The result; None: the true one is to be computed, or to raise its own error."""
    shapes = x.new_empty(x.shape, device="meta"), weight.new_empty(weight.shape, device="meta")
    try:
        shape = _aten.convolution(*shapes, None, *how).shape
    except RuntimeError:
        return None
    products = _products(x, weight, shape, is_transposed=how[3])
    if products < _LARGE or (bias is not None and len(bias) != shape[1]):
        return None
    result = _rows(x, shape, _size(x) * _size(weight) * (products / math.prod(shape)) ** 0.5)
    return result if bias is None else result + bias.view(-1, *[1] * (len(shape) - 2))


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Sequence[int] | None, *how: Any
) -> tuple[Tensor | None, ...] | None:
    needs_x, needs_weight, needs_bias = how[-1]
    products = _products(x, weight, grad.shape, is_transposed=how[3])
    if products < _LARGE:
        return None

    def rough(like: Tensor, other: Tensor) -> Tensor:
        return _rows(like, like.shape, size * _size(other) * (products / like.numel()) ** 0.5)

    size = _size(grad)
    return (
        rough(x, weight) if needs_x else None,
        rough(weight, x) if needs_weight else None,
        grad.sum([0, *range(2, grad.dim())]) if needs_bias else None,
    )


def _normal(x: Tensor, mean: float = 0.0, std: float = 1.0, **how: Any) -> Tensor | None:
    return None if x.numel() < _LARGE else x.copy_(_rows(x, x.shape, std)).add_(mean)


def _uniform(x: Tensor, low: float = 0.0, high: float = 1.0, **how: Any) -> Tensor | None:
    if x.numel() < _LARGE:
        return None
    row = x.new_empty(_row_of(x.shape)).uniform_(low, high)
    return x.copy_(row.expand(x.shape))


def _products(x: Tensor, weight: Tensor, shape: Sequence[int], is_transposed: bool) -> int:
    """How many numbers a convolution multiplies."""
    return (x.numel() if is_transposed else math.prod(shape)) * weight[0].numel()


def _size(x: Tensor) -> Tensor:
    """Root mean square."""
    return torch.linalg.vector_norm(x) / max(1, x.numel()) ** 0.5


def _rows(like: Tensor, shape: Sequence[int], size: Tensor | float) -> Tensor:
    row = like.new_empty(_row_of(shape)).normal_() * size
    return row.expand(shape).contiguous()


def _row_of(shape: Sequence[int]) -> list[int]:
    """The shape of what is repeated: along the height of maps, along the outputs of weights."""
    repeated = max(range(0, len(shape) - 1, 2), key=lambda i: shape[i], default=None)
    return [1 if i == repeated else n for i, n in enumerate(shape)]


_ROUGH: dict[Any, Callable[..., Any]] = {
    _aten.convolution.default: _convolution,
    _aten.convolution_backward.default: _convolution_backward,
    _aten.normal_.default: _normal,
    _aten.uniform_.default: _uniform,
}
