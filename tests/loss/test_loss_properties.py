"""Losses of random anchors against the formulas in plain Python, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import ScaleBalancedWeight
from scb_d2.loss.object_weights import PAPER_FORMS
from scb_d2.loss.unreduced_losses import box_regression_losses, sigmoid_focal_losses
from scb_d2.loss.weighted_losses import LossWeighting
from tests.oracle import weigh_anchors

Box = tuple[float, float, float, float]

SIDES = st.floats(1, 200, width=32)
CORNERS = st.floats(-300, 300, width=32)
BOXES = st.builds(
    lambda x, y, width, height: (x, y, x + width, y + height), CORNERS, CORNERS, SIDES, SIDES
)
FACTORS = st.sampled_from([1.0, 5.0, 10.0])


def _focal_loss(logit: float, target: int, alpha: float, gamma: float) -> float:
    """Lin et al. 2017, equation 5."""
    sign = 1 if target else -1
    # log(1 + exp(-z)), without overflow
    z = sign * logit
    cross_entropy = max(-z, 0.0) + math.log1p(math.exp(-abs(z)))
    p_t = 1 / (1 + math.exp(-z))
    return (alpha if target else 1 - alpha) * (1 - p_t) ** gamma * cross_entropy


@given(
    st.lists(st.tuples(st.floats(-20, 20, width=32), st.integers(0, 1)), min_size=1, max_size=6),
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]),
)
def test_focal_losses(classes: list[tuple[float, int]], alpha: float, gamma: float) -> None:
    logits = torch.tensor([[logit for logit, _ in classes]])
    targets = torch.tensor([[float(target) for _, target in classes]])
    found = sigmoid_focal_losses(logits, targets, alpha=alpha, gamma=gamma)
    expected = sum(_focal_loss(logit, target, alpha, gamma) for logit, target in classes)
    # float32 rounds 1 - p of a confident anchor
    assert found.item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def _deltas(anchor: Box, box: Box, weights: tuple[float, ...]) -> list[float]:
    sizes = [(b[2] - b[0], b[3] - b[1]) for b in (anchor, box)]
    (aw, ah), (bw, bh) = sizes
    centres = [(b[0] + w / 2, b[1] + h / 2) for b, (w, h) in zip((anchor, box), sizes, strict=True)]
    (ax, ay), (bx, by) = centres
    plain = [(bx - ax) / aw, (by - ay) / ah, math.log(bw / aw), math.log(bh / ah)]
    return [weight * value for weight, value in zip(weights, plain, strict=True)]


def _moved(anchor: Box, deltas: list[float], weights: tuple[float, ...]) -> Box:
    """The box that deltas make of an anchor."""
    dx, dy, dw, dh = (value / weight for value, weight in zip(deltas, weights, strict=True))
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x, y = anchor[0] + width / 2 + dx * width, anchor[1] + height / 2 + dy * height
    width, height = width * math.exp(dw), height * math.exp(dh)
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _smooth_l1(a: float, b: float, beta: float) -> float:
    distance = abs(a - b)
    return distance - beta / 2 if distance >= beta else distance**2 / (2 * beta)


def _iou_loss(a: Box, b: Box, kind: str) -> float:
    """Rezatofighi et al. 2019 (giou), Zheng et al. 2020 (diou, ciou)."""
    area_a, area_b = ((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = width * height if width > 0 and height > 0 else 0.0
    union = area_a + area_b - shared
    iou = shared / union
    around = (max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
    if kind == "giou":
        hull = around[0] * around[1]
        return 1 - iou + (hull - union) / hull
    distance = sum((a[i] + a[i + 2] - b[i] - b[i + 2]) ** 2 / 4 for i in (0, 1))
    loss = 1 - iou + distance / (around[0] ** 2 + around[1] ** 2)
    if kind == "diou":
        return loss
    angles = [math.atan((x[2] - x[0]) / (x[3] - x[1])) for x in (b, a)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return loss + v * v / (1 - iou + v + 1e-12)


@given(
    st.lists(
        st.tuples(
            BOXES, BOXES, st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4)
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["smooth_l1", "giou", "diou", "ciou"]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.tuples(FACTORS, FACTORS, FACTORS, FACTORS),
)  # fmt: skip
def test_box_losses(
    rows: list[tuple[Box, Box, list[float]]], kind: str, beta: float, weights: tuple[float, ...]
) -> None:
    anchors, gt_boxes, deltas = (torch.tensor(column) for column in zip(*rows, strict=True))
    transform = Box2BoxTransform(weights)
    found = box_regression_losses(transform, anchors, deltas, gt_boxes, kind, beta).tolist()
    for value, (anchor, box, delta) in zip(found, rows, strict=True):
        if kind == "smooth_l1":
            pairs = zip(delta, _deltas(anchor, box, weights), strict=True)
            expected = sum(_smooth_l1(a, b, beta) for a, b in pairs)
        else:
            expected = _iou_loss(_moved(anchor, delta, weights), box, kind)
        assert value == pytest.approx(expected, rel=1e-3, abs=2e-3)


@given(st.lists(st.floats(2**-10, 2**10, width=32), min_size=1, max_size=20))
def test_mean_one(weights: list[float]) -> None:
    found = LossWeighting(("cls",), "mean_one").normalize(torch.tensor(weights)).tolist()
    mean = sum(weights) / len(weights)
    assert found == pytest.approx([weight / mean for weight in weights], rel=1e-4)


def test_mean_one_of_weights_that_are_all_0() -> None:
    """As a form of the user's may give to all objects of a batch."""
    found = LossWeighting(("cls",), "mean_one").normalize(torch.zeros(5))
    assert found.tolist() == [0.0] * 5


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1, 0, 1])), min_size=1, max_size=30),
    st.sampled_from(PAPER_FORMS),
    st.floats(0.125, 10, width=32),
    st.floats(0.125, 10, width=32),
)
def test_an_object_weighs_beta_times_its_say(
    anchors: list[tuple[int, int]], form: str, alpha: float, beta: float
) -> None:
    matched_idxs, labels = ([x[i] for x in anchors] for i in (0, 1))
    weight = ScaleBalancedWeight(form, alpha, beta)
    found = weight(
        torch.tensor(matched_idxs), torch.tensor(labels, dtype=torch.int8), torch.zeros(4, 4)
    )
    expected = weigh_anchors(matched_idxs, labels, 4, form, alpha, beta)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    if form == "information":
        for index in set(matched_idxs):
            says = [w for w, x in zip(found.tolist(), anchors, strict=True) if x == (index, 1)]
            if says:
                assert sum(says) == pytest.approx(beta * (math.log(len(says)) + alpha), rel=1e-4)
