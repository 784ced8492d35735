import math

import pytest
import torch
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import OBJECT_WEIGHT_REGISTRY, ConfigError, ScaleBalancedWeight, object_weights
from scb_d2.loss.object_weights import PAPER_FORMS
from tests.oracle import weigh_object, weigh_object_by_area

AREA_FORMS = ("log_area", "inverse_sqrt_area")


def test_paper_values():
    counts = torch.tensor([1, 2, 3, 4, 5, 6, 10, 20, 50, 100])
    expected = [3, 2.539721, 2.098612, 1.789721, 1.565663, 1.395880, 0.990776, 0.599360]
    expected += [0.294721, 0.168155]
    torch.testing.assert_close(object_weights(counts), torch.tensor(expected), rtol=0, atol=1e-6)


@given(
    st.lists(st.integers(0, 400_000), max_size=20),
    st.sampled_from(PAPER_FORMS),
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


@pytest.mark.parametrize("form", PAPER_FORMS)
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


@pytest.mark.parametrize("form", AREA_FORMS)
@given(boxes=st.lists(st.lists(st.floats(0, 2000, width=32), min_size=2, max_size=2), max_size=9))
def test_forms_by_area_equal_oracle(form, boxes):
    boxes = [[5.0, 6.0, 5 + width, 6 + height] for width, height in boxes]
    gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    weights = object_weights(torch.ones(len(boxes)), form, beta=2.0, gt_boxes=gt_boxes)
    expected = torch.tensor([weigh_object_by_area(box, form, 2.0) for box in boxes])
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-5)


def test_forms_by_area_by_hand():
    # 32 x 32 px weighs 1 under beta 3; 64 x 64: ln 4096 / ln 1024 = 1.2, and half; no area: 2 x 2
    gt_boxes = Boxes(torch.tensor([[0.0, 0, 32, 32], [9, 9, 73, 73], [7, 7, 7, 7]]))
    counts = torch.tensor([3, 5, 0])
    by_log, by_root = (object_weights(counts, form, gt_boxes=gt_boxes) for form in AREA_FORMS)
    torch.testing.assert_close(by_log, torch.tensor([1, 1.2, 0.2]))
    torch.testing.assert_close(by_root, torch.tensor([1, 0.5, 16]))
    with pytest.raises(ConfigError, match="by area needs the boxes of the objects"):
        object_weights(counts, "log_area")


def test_every_entry_of_the_registry_keeps_its_contract():
    counts, gt_boxes = torch.tensor([1.0, 7]), Boxes(torch.tensor([[0.0, 0, 9, 9], [5, 5, 60, 50]]))
    for name, form in OBJECT_WEIGHT_REGISTRY:
        weights = form(counts, gt_boxes, 0.5)
        assert weights.shape == (2,) and torch.isfinite(weights).all() and (weights > 0).all(), name
        assert form(counts[:0], gt_boxes[:0], 0.5).shape == (0,), name


@pytest.fixture
def registered():
    """Register functions for one test."""
    yield OBJECT_WEIGHT_REGISTRY.register
    for name in ("constant", "by_side"):
        OBJECT_WEIGHT_REGISTRY._obj_map.pop(name, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_registered_form_may_return_any_float_type(registered, dtype):
    def constant(match_counts, gt_boxes, alpha):
        return torch.full_like(match_counts, alpha, dtype=dtype)

    registered(constant)
    weight = ScaleBalancedWeight("constant", alpha=0.5, beta=3)
    found = weight(torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]), torch.zeros(2, 4))
    assert found.dtype == torch.float32 and found.tolist() == [1.5, 1, 1.5]


def test_a_registered_form_must_return_one_weight_per_object(registered):
    def constant(match_counts, gt_boxes, alpha):
        return torch.tensor(1.0)

    registered(constant)
    with pytest.raises(ConfigError, match=r"'constant' must return .* shape \(125,\); got \(\)"):
        object_weights(torch.tensor([1, 2, 3]), "constant")
