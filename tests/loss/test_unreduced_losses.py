import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform, _dense_box_regression_loss
from detectron2.structures import Boxes
from fvcore.nn import sigmoid_focal_loss

from scb_d2 import ConfigError
from scb_d2.loss.unreduced_losses import box_regression_losses, sigmoid_focal_losses
from scb_d2.loss.weighted_losses import LOSS_NAMES, LossWeighting


def test_focal_losses_sum_to_stock():
    logits = torch.randn(3, 50, 4, requires_grad=True)
    targets = (torch.rand(3, 50, 4) > 0.9).float()
    ours = sigmoid_focal_losses(logits, targets, alpha=0.3, gamma=1.5)
    assert ours.shape == (3, 50)
    stock = sigmoid_focal_loss(logits, targets, alpha=0.3, gamma=1.5, reduction="sum")
    torch.testing.assert_close(ours.sum(), stock, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    (expected,) = torch.autograd.grad(stock, logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_box_losses_sum_to_stock(kind):
    transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    corners = torch.rand(2, 30, 2) * 50
    anchors = torch.cat([corners[0], corners[0] + 5 + torch.rand(30, 2) * 20], 1)
    gt_boxes = torch.cat([corners[1], corners[1] + 5 + torch.rand(30, 2) * 20], 1)
    deltas = (torch.randn(1, 30, 4) * 0.2).requires_grad_()
    mask = torch.rand(1, 30) > 0.4
    stock = _dense_box_regression_loss(
        [Boxes(anchors)], transform, [deltas], [gt_boxes], mask, kind, smooth_l1_beta=0.1
    )
    ours = box_regression_losses(
        transform, anchors[mask[0]], deltas[mask], gt_boxes[mask[0]], kind, smooth_l1_beta=0.1
    )
    assert ours.shape == (int(mask.sum()),)
    torch.testing.assert_close(ours.sum(), stock, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(ours.sum(), deltas)
    (expected,) = torch.autograd.grad(stock, deltas)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_no_positives_give_zero_with_gradients(kind):
    deltas = torch.zeros(5, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    boxes = torch.tensor([[0.0, 0, 4, 4]])[none]
    loss = box_regression_losses(
        Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), boxes, deltas[none], boxes, kind
    ).sum()
    loss.backward()
    assert loss == 0 and torch.equal(deltas.grad, torch.zeros(5, 4))


def test_smooth_l1_by_hand():
    # Deltas of the box against the anchor: shift by half a width, twice the height.
    anchors, gt_boxes = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, -2, 6, 6]])
    losses = box_regression_losses(
        Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), anchors, torch.zeros(1, 4), gt_boxes
    )
    torch.testing.assert_close(losses, torch.tensor([0.5 + 0.6931472]))


def test_unknown_box_loss():
    boxes = torch.zeros(0, 4)
    with pytest.raises(ConfigError, match="smooth_l1, giou, diou, ciou; got 'iou'"):
        box_regression_losses(Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), boxes, boxes, boxes, "iou")


def test_weights_normalised_to_mean_one():
    weights = torch.tensor([3.0, 1.0, 0.5, 0.5])
    assert torch.equal(LossWeighting(("cls",), "stock").normalize(weights), weights)
    rescaled = LossWeighting(("cls",), "mean_one").normalize(weights)
    torch.testing.assert_close(rescaled, weights / 1.25)
    assert LossWeighting(("cls",), "mean_one").normalize(torch.zeros(0)).shape == (0,)


def test_mean_one_cancels_beta():
    weights, weighting = torch.tensor([3.0, 1.0, 0.5]), LossWeighting(("cls", "box"), "mean_one")
    torch.testing.assert_close(weighting.normalize(7 * weights), weighting.normalize(weights))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cls", "box"), {"cls": [[2, 1], [0, 5]], "box": [6, 35]}),
        (["cls"], {"cls": [[2, 1], [0, 5]], "box": [3, 7]}),
        ("box", {"cls": [[1, 1], [0, 1]], "box": [6, 35]}),
        (("centerness",), {"cls": [[1, 1], [0, 1]], "box": [3, 7], "centerness": [2, 5]}),
    ],
)
def test_which_losses_are_weighted(names, expected):
    # positives: anchor 0 of image 0 of weight 2, anchor 1 of image 1 of weight 5; one is ignored
    losses = {"cls": torch.ones(2, 2), "box": torch.tensor([3.0, 7]), "centerness": torch.ones(2)}
    found = LossWeighting(names, "stock", LOSS_NAMES).weigh(
        losses,
        torch.tensor([[True, True], [False, True]]),
        (torch.tensor([0, 1]), torch.tensor([0, 1])),
        torch.tensor([2.0, 5]),
    )
    expected = {"centerness": [1, 1], **expected}
    assert {name: loss.tolist() for name, loss in found.items()} == expected


@pytest.mark.parametrize("losses", [(), ("reg",), ("cls", "cls"), ("cls", "centerness"), None, 3])
def test_bad_loss_names(losses):
    with pytest.raises(ConfigError, match="weighted_losses must name one or more of cls, box"):
        LossWeighting(losses, "stock")


def test_bad_normalizer():
    with pytest.raises(ConfigError, match="weight_normalizer must be one of stock, mean_one"):
        LossWeighting(("cls",), "mean")
