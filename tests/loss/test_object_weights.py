import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import ConfigError, object_weights
from scb_d2.loss.object_weights import FORMS
from tests.oracle import weigh_object


def test_paper_values():
    counts = torch.tensor([1, 2, 3, 4, 5, 6, 10, 20, 50, 100])
    expected = [3, 2.539721, 2.098612, 1.789721, 1.565663, 1.395880, 0.990776, 0.599360]
    expected += [0.294721, 0.168155]
    torch.testing.assert_close(object_weights(counts), torch.tensor(expected), rtol=0, atol=1e-6)


@given(
    st.lists(st.integers(0, 400_000), max_size=20),
    st.sampled_from(sorted(FORMS)),
    st.floats(0.01, 100),
    st.floats(0.01, 100),
)
def test_equals_oracle(counts, form, alpha, beta):
    weights = object_weights(torch.tensor(counts, dtype=torch.int64), form, alpha, beta)
    assert weights.dtype == torch.float32 and weights.shape == (len(counts),)
    expected = torch.tensor([weigh_object(m, form, alpha, beta) for m in counts])
    torch.testing.assert_close(weights, expected, rtol=2e-6, atol=0)


@given(st.integers(1, 1_000_000))
def test_sum_over_an_objects_anchors_grows_with_the_logarithm(count):
    weight = object_weights(torch.tensor([count])).double()
    assert weight.item() * count == pytest.approx(3 * (math.log(count) + 1), rel=1e-6)


def test_strictly_decreasing():
    assert (object_weights(torch.arange(1, 2000)).diff() < 0).all()


@pytest.mark.parametrize("form", sorted(FORMS))
def test_object_without_matches_gets_the_weight_of_one(form):
    zero, one = object_weights(torch.tensor([0, 1]), form, alpha=0.7, beta=2.0)
    assert zero == one and torch.isfinite(zero)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float16, torch.bfloat16])
def test_float32_whatever_comes_in(dtype):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = object_weights(torch.tensor([3], dtype=dtype))
    assert weights.dtype == torch.float32
    assert weights.item() == pytest.approx(2.098612, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "log"}, "form must be one of information, inverse_sqrt, .*; got 'log'"),
        ({"form": None}, "form must be one of .*; got None"),
        ({"alpha": 0.0}, "alpha must be a finite number above 0; got 0.0"),
        ({"alpha": float("nan")}, "alpha must be a finite number above 0; got nan"),
        ({"beta": -1}, "beta must be a finite number above 0; got -1"),
        ({"beta": float("inf")}, "beta must be a finite number above 0; got inf"),
        ({"beta": "3"}, "beta must be a finite number above 0; got '3'"),
        ({"beta": True}, "beta must be a finite number above 0; got True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        object_weights(torch.tensor([1]), **arguments)
