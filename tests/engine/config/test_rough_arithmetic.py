"""Rough results have the shapes, sizes and errors of the true ones, without their work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from scb_d2.engine.config.rough_arithmetic import RoughArithmetic

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(32, 48, 3, padding=1),
    "strided": lambda: nn.Conv2d(32, 48, 3, stride=2, bias=False),
    "groups": lambda: nn.Conv2d(32, 48, 3, groups=4, dilation=2),
    "transposed": lambda: nn.ConvTranspose2d(32, 48, 2, stride=2),
}


def _step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x.requires_grad_(True)
    out = layer(x)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)))
    return [out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_results_and_gradients_have_the_shapes_and_sizes_of_the_true_ones(
    kind: str, scale: float
) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    x = scale * torch.randn(2, 32, 20, 24)
    true = _step(layer, x.clone())
    layer.zero_grad()  # to None
    with RoughArithmetic():
        rough = _step(layer, x.clone())
    for one, other in zip(rough, true, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert float(one.norm()) == pytest.approx(float(other.norm()), rel=0.25)


def test_results_are_not_the_true_ones_but_for_what_costs_nothing() -> None:
    torch.manual_seed(0)
    large, small = nn.Conv2d(32, 32, 3), nn.Conv2d(2, 2, 1)
    x, y = torch.randn(1, 32, 20, 20), torch.randn(1, 2, 3, 3)
    with RoughArithmetic():
        rough, exact = large(x), small(y)
    assert not torch.allclose(rough, large(x), atol=0.1)
    assert torch.equal(exact, small(y))
    assert torch.equal(rough[:, :, 0], rough[:, :, 7])  # rows, repeated


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("of", ["input", "weight"])
def test_what_is_not_finite_stays_so(value: float, of: str) -> None:
    layer, x = nn.Conv2d(32, 32, 3), torch.randn(1, 32, 20, 20)
    with torch.no_grad(), RoughArithmetic():
        (x if of == "input" else layer.weight).fill_(value)
        assert not torch.isfinite(layer(x)).any()


@pytest.mark.parametrize(
    ("weight", "x", "bias"),
    [
        ((32, 16, 3, 3), (1, 32, 20, 20), 32),
        ((32, 32, 3, 3), (64, 32, 2, 2), 32),
        ((32, 32, 3, 3), (9, 9), 32),
        ((32, 32, 3, 3), (1, 32, 20, 20), 31),
        ((32, 32, 3, 3), (1, 32, 20, 20), 1),
    ],
)
def test_what_raises_an_error_raises_the_same(
    weight: tuple[int, ...], x: tuple[int, ...], bias: int
) -> None:
    def convolve() -> Any:
        return F.conv2d(torch.zeros(x), torch.zeros(weight), torch.zeros(bias))

    with pytest.raises(RuntimeError) as true:
        convolve()
    with RoughArithmetic(), pytest.raises(RuntimeError) as rough:
        convolve()
    assert str(rough.value) == str(true.value)


@given(std=st.floats(1e-3, 1e3), mean=st.floats(-10, 10))
def test_random_weights_have_their_mean_and_spread(std: float, mean: float) -> None:
    x = torch.empty(256, 256)
    with RoughArithmetic():
        nn.init.normal_(x, mean, std)
        assert x.std() == pytest.approx(std, rel=0.3)
        assert float(x.mean()) == pytest.approx(mean, abs=std)
        nn.init.uniform_(x, mean, mean + std)
    assert x.min() >= mean - 1e-4 and x.max() <= mean + std + 1e-4
    assert x.std() == pytest.approx(std / 12**0.5, rel=0.3)
