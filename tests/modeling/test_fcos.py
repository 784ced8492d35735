import math

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.layers import cat
from detectron2.model_zoo import get_config
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes
from fvcore.nn import giou_loss, sigmoid_focal_loss
from torch.nn import functional as F

from scb_d2 import ConfigError, ScaleBalancedFCOS, ScaleBalancedWeight
from tests import oracle

from .detectors import assert_same_training, batch, fcos, image, train_step

LOSSES = {"cls": "loss_fcos_cls", "box": "loss_fcos_loc", "centerness": "loss_fcos_ctr"}


@pytest.fixture(autouse=True)
def unjitted(monkeypatch):
    """The jitted focal loss differs in its last bits on a process's first call."""
    for module in ("scb_d2.loss.unreduced_losses", "detectron2.modeling.meta_arch.fcos"):
        monkeypatch.setattr(f"{module}.sigmoid_focal_loss_jit", sigmoid_focal_loss)


def same_weights(**arguments):
    """Ours and the stock detector, with the same parameters."""
    ours, stock = fcos(**arguments), fcos(False)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def labels_of(model, data):
    features = model.backbone(model.preprocess_image(data).tensor)
    anchors = model.anchor_generator([features[f] for f in model.head_in_features])
    labels, matched = model.label_anchors(anchors, [x["instances"] for x in data])
    return anchors, labels, matched


def test_without_object_weight_equals_stock_bit_for_bit():
    ours, stock = same_weights(object_weight=None)
    assert type(ours) is ScaleBalancedFCOS and ours.object_weight is None
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data)


@pytest.mark.parametrize("normalizer", ["stock", "mean_one"])
def test_uniform_weight_of_one_equals_stock(normalizer):
    ours, stock = same_weights(
        object_weight=ScaleBalancedWeight("uniform", beta=1.0), weight_normalizer=normalizer
    )
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data, rtol=2e-6)
        assert ours.loss_normalizer == stock.loss_normalizer


def test_labels_are_stocks_and_weights_the_oracles():
    ours, stock = same_weights()
    data = batch()
    anchors, labels, matched = labels_of(ours, data)
    _, stock_labels, stock_boxes = labels_of(stock, data)
    for i, x in enumerate(data):
        assert torch.equal(labels[i], stock_labels[i])
        positive = labels[i] != 5
        assert torch.equal(matched[i].gt_boxes[positive], stock_boxes[i][positive])
        ranges = {8: (0, 64), 16: (64, 128), 32: (128, 256), 64: (256, 512), 128: (512, math.inf)}
        points = [
            (*center, stride, *ranges[stride])
            for level, stride in zip(anchors, ranges, strict=True)
            for center in level.get_centers().tolist()
        ]
        boxes = x["instances"].gt_boxes.tensor.tolist()
        expected = oracle.weigh_anchors(*oracle.match_points(boxes, points, 1.5), len(boxes))
        torch.testing.assert_close(matched[i].weights, torch.tensor(expected), rtol=2e-6, atol=0)


def test_every_objects_weights_sum_to_its_say():
    model = fcos()
    # The last lies between the points of the finest level and is too small for the others.
    data = [image([[10, 10, 22, 21], [20, 25, 90, 80], [5, 60, 30, 95], [61.5, 5.5, 66.5, 10.5]])]
    _, (labels,), (matched,) = labels_of(model, data)
    counts = matched.match_counts.tolist()
    assert counts[3] == 0 and min(counts[:3]) > 0
    positive = labels != 5
    total = sum(3 * (math.log(m) + 1) for m in counts if m)
    assert matched.weights[positive].sum().item() == pytest.approx(total, rel=1e-5)
    assert (matched.weights[~positive] == 1).all()
    _, _, scalars = train_step(model, data)
    assert scalars["scb/first/unmatched"] == 1 and scalars["scb/first/num_objects"] == 4


def losses_by_hand(model, data, weighted, mean_one):
    """Stock's losses written out per point, with weights from the matches."""
    anchors, labels, matched = labels_of(model, data)
    anchors = Boxes.cat(anchors).tensor
    features = model.backbone(model.preprocess_image(data).tensor)
    predictions = model.head([features[f] for f in model.head_in_features])
    predictions = model._transpose_dense_predictions(predictions, [5, 4, 1])
    logits, deltas, centerness = (cat(x, dim=1) for x in predictions)
    terms, weights = {name: [] for name in LOSSES}, []
    for i in range(len(data)):
        for r, label in enumerate(labels[i].tolist()):
            target = torch.zeros(5)
            weight = matched[i].weights[r].item()
            if label != 5:
                target[label] = 1
                weights.append(weight)
                x, y = Boxes(anchors[r][None]).get_centers()[0]
                x1, y1, x2, y2 = gt_box = matched[i].gt_boxes[r]
                horizontal, vertical = sorted([x - x1, x2 - x]), sorted([y - y1, y2 - y])
                central = (horizontal[0] / horizontal[1] * vertical[0] / vertical[1]).sqrt()
                loss = F.binary_cross_entropy_with_logits(centerness[i, r, 0], central)
                terms["centerness"].append((loss, weight))
                box = model.box2box_transform.apply_deltas(deltas[i, r][None], anchors[r][None])
                terms["box"].append((giou_loss(box[0], gt_box), weight))
            loss = sigmoid_focal_loss(logits[i, r], target, 0.25, 2.0, "sum")
            terms["cls"].append((loss, weight if label != 5 else None))
    scale = len(weights) / sum(weights) if mean_one else 1.0
    normalizer = 300 * 0.9 + max(len(weights), 1) * 0.1
    return {
        name: sum(x * (w * scale if w is not None and name in weighted else 1) for x, w in found)
        / normalizer
        for name, found in terms.items()
    }


@pytest.mark.parametrize(
    ("weighted", "normalizer"),
    [
        (("cls", "box", "centerness"), "stock"),
        (("cls", "box", "centerness"), "mean_one"),
        (("cls",), "stock"),
        (("centerness",), "stock"),
    ],
)
def test_losses_equal_the_oracle(weighted, normalizer):
    model = fcos(weighted_losses=weighted, weight_normalizer=normalizer)
    data = batch()
    actual, gradients, scalars = train_step(model, data)
    expected = losses_by_hand(model, data, weighted, normalizer == "mean_one")
    for name, value in expected.items():
        torch.testing.assert_close(actual[LOSSES[name]], value, rtol=1e-5, atol=1e-7)
    assert set(actual) == set(LOSSES.values())
    if normalizer == "mean_one":
        assert scalars["scb/first/mean_weight"] == pytest.approx(1)
    assert scalars["num_pos_anchors"] > 0
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_what_is_weighted_by_default_and_what_is_refused():
    assert fcos().loss_weighting.weighted_losses == ("cls", "box", "centerness")
    with pytest.raises(ConfigError, match=r"one or more of cls, box, centerness.*'ctr'"):
        fcos(weighted_losses=("ctr",))


def test_images_without_objects():
    losses, gradients, scalars = train_step(fcos(), [image([]), image([])])
    assert losses["loss_fcos_loc"] == losses["loss_fcos_ctr"] == 0 and losses["loss_fcos_cls"] > 0
    for name in ("bbox_pred", "ctrness"):
        assert gradients[f"head.{name}.weight"].abs().max() == 0
    assert scalars["scb/first/num_objects"] == 0 and scalars["num_pos_anchors"] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_weights_in_float32(dtype):
    model = fcos()
    with torch.autocast("cpu", dtype=dtype):
        losses, gradients, _ = train_step(model, batch())
        _, _, matched = labels_of(model, batch())
    assert all(x.dtype == torch.float32 and torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert all(x.weights.dtype == torch.float32 for x in matched)


def test_inference_equals_stock():
    ours, stock = same_weights(test_score_thresh=0.01)
    stock.test_score_thresh, data = 0.01, batch()
    with torch.no_grad():
        for a, b in zip(ours.eval()(data), stock.eval()(data), strict=True):
            assert len(b["instances"])
            assert torch.equal(a["instances"].pred_boxes.tensor, b["instances"].pred_boxes.tensor)
            assert torch.equal(a["instances"].scores, b["instances"].scores)


def test_lazy_config_differs_from_detectron2s_in_the_loss_only(repo_root):
    ours = LazyConfig.load(str(repo_root / "configs" / "lazy" / "fcos_scb.py"))
    stock = get_config("COCO-Detection/fcos_R_50_FPN_1x.py")
    assert ours.model._target_ is ScaleBalancedFCOS and stock.model._target_ is FCOS
    weight = instantiate(ours.model.object_weight)
    assert (weight.form, weight.alpha, weight.beta) == ("information", 1.0, 3.0)
    statistics = instantiate(ours.model.statistics)
    assert (statistics.prefix, statistics.max_iter) == ("scb/first/", ours.train.max_iter)
    assert list(ours.model.weighted_losses) == list(LOSSES)
    for key in ("object_weight", "weighted_losses", "weight_normalizer", "statistics"):
        ours.model.pop(key)
    ours.model._target_ = FCOS
    for part in ("dataloader", "lr_multiplier", "model", "optimizer", "train"):
        assert ours[part] == stock[part]
