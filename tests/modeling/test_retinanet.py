import math

import pytest
import torch
from detectron2.modeling import RetinaNet
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.events import EventStorage
from fvcore.nn import sigmoid_focal_loss

from benchmarks.loss_memory import losses_of
from scb_d2 import ScaleBalancedRetinaNet, ScaleBalancedWeight, anchor_weights, build_model
from tests import oracle

from .detectors import assert_same_training, batch, image, pair, retinanet_config, train_step


@pytest.fixture(autouse=True)
def unjitted(monkeypatch):
    """The jitted focal loss differs in its last bits on a process's first call."""
    for module in ("scb_d2.loss.unreduced_losses", "detectron2.modeling.meta_arch.retinanet"):
        monkeypatch.setattr(f"{module}.sigmoid_focal_loss_jit", sigmoid_focal_loss)


def stock_config(*opts):
    return retinanet_config(*opts, enabled=False)


def test_disabled_builds_the_stock_class():
    assert type(build_model(stock_config())) is RetinaNet


def test_enabled_swaps_the_stock_name():
    cfg = retinanet_config()
    model = build_model(cfg)
    assert type(model) is ScaleBalancedRetinaNet
    assert cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    assert isinstance(model.object_weight, ScaleBalancedWeight)
    own_name = retinanet_config("MODEL.META_ARCHITECTURE", "ScaleBalancedRetinaNet")
    assert type(build_model(own_name)) is ScaleBalancedRetinaNet


def test_same_parameters_as_stock():
    ours, stock = build_model(retinanet_config()), build_model(stock_config())
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, stock)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou", "diou", "ciou"])
def test_without_object_weight_equals_stock_bit_for_bit(box_loss):
    opts = ["MODEL.RETINANET.BBOX_REG_LOSS_TYPE", box_loss]
    ours = retinanet_config(
        *opts, "MODEL.META_ARCHITECTURE", "ScaleBalancedRetinaNet", enabled=False
    )
    ours, stock = pair(ours, stock_config(*opts))
    assert type(ours) is ScaleBalancedRetinaNet and ours.object_weight is None
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data)


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou", "diou", "ciou"])
@pytest.mark.parametrize("normalizer", ["stock", "mean_one"])
def test_uniform_weight_of_one_equals_stock(box_loss, normalizer):
    opts = ["MODEL.RETINANET.BBOX_REG_LOSS_TYPE", box_loss]
    scb = ["MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1, "MODEL.SCB.NORMALIZER", normalizer]
    ours, stock = pair(retinanet_config(*opts, *scb), stock_config(*opts))
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data, rtol=2e-6)


def test_normalizer_follows_stock_over_steps():
    ours, stock = pair(retinanet_config(), stock_config())
    for _ in range(3):
        data = batch()
        train_step(ours, data), train_step(stock, data)
        assert ours.loss_normalizer == stock.loss_normalizer


def labels_of(model, data):
    features = model.backbone(model.preprocess_image(data).tensor)
    anchors = model.anchor_generator([features[f] for f in model.head_in_features])
    with EventStorage():
        labels, matched = model.label_anchors(anchors, [x["instances"] for x in data])
    return anchors, labels, matched


@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
def test_labels_and_weights_equal_the_oracle(low_quality):
    model = build_model(retinanet_config("MODEL.SCB.LOW_QUALITY", low_quality))
    data = [image([[10, 10, 22, 21], [20, 25, 90, 80], [21, 25, 90, 80], [50, 5, 80, 30]])]
    anchors, (labels,), (matched,) = labels_of(model, data)
    gt_boxes = data[0]["instances"].gt_boxes
    classes = data[0]["instances"].gt_classes.tolist()
    # Ties are ties in float32, so the table is Detectron2's.
    quality = pairwise_iou(gt_boxes, Boxes.cat(anchors)).tolist()
    idxs, expected = oracle.match(quality, [0.4, 0.5], [0, -1, 1], low_quality)
    class_labels = {-1: lambda i: -1, 0: lambda i: 5, 1: lambda i: classes[i]}
    assert labels.tolist() == [class_labels[x](i) for i, x in zip(idxs, expected, strict=True)]
    assert matched.match_counts.tolist() == oracle.count_matches(idxs, expected, 4)
    weights = torch.tensor(oracle.weigh_anchors(idxs, expected, 4))
    torch.testing.assert_close(matched.weights, weights, rtol=2e-6, atol=0)
    positive = torch.tensor(expected) == 1
    matched_boxes = gt_boxes.tensor[torch.tensor(idxs)]
    assert torch.equal(matched.gt_boxes[positive], matched_boxes[positive])


def test_every_objects_weights_sum_to_its_say():
    model = build_model(retinanet_config("MODEL.SCB.LOW_QUALITY", "reassign"))
    data = batch()
    _, labels, matched = labels_of(model, data)
    for image_labels, match, x in zip(labels, matched, data, strict=True):
        positive = (image_labels >= 0) & (image_labels != 5)
        total = sum(3 * (math.log(m) + 1) for m in match.match_counts.tolist() if m)
        assert match.weights[positive].sum().item() == pytest.approx(total, rel=1e-5)
        assert (match.weights[~positive] == 1).all()
        assert len(match.match_counts) == len(x["instances"])


def losses_by_hand(model, data, weights_cls=True, weights_box=True, mean_one=False):
    """Stock's losses written out per anchor, with weights from the oracle."""
    features = model.backbone(model.preprocess_image(data).tensor)
    features = [features[f] for f in model.head_in_features]
    logits, deltas = model._transpose_dense_predictions(model.head(features), [5, 4])
    logits, deltas = torch.cat(logits, 1), torch.cat(deltas, 1)
    anchors = Boxes.cat(model.anchor_generator(features)).tensor
    cls_terms, box_terms, all_weights, num_positive = [], [], [], 0
    for i, x in enumerate(data):
        boxes, classes = x["instances"].gt_boxes.tensor, x["instances"].gt_classes
        if len(boxes):
            quality = pairwise_iou(x["instances"].gt_boxes, Boxes(anchors)).tolist()
            idxs, labels = oracle.match(quality, [0.4, 0.5], [0, -1, 1], "stock")
        else:
            idxs, labels = [0] * len(anchors), [0] * len(anchors)
        weights = oracle.weigh_anchors(idxs, labels, len(boxes))
        for r, (index, label, weight) in enumerate(zip(idxs, labels, weights, strict=True)):
            if label == -1:
                continue
            target = torch.zeros(5)
            if label == 1:
                target[classes[index]] = 1
                num_positive += 1
                all_weights.append(weight)
                delta = model.box2box_transform.get_deltas(anchors[r][None], boxes[index][None])[0]
                box_terms.append(((deltas[i, r] - delta).abs().sum(), weight))
            loss = sigmoid_focal_loss(logits[i, r], target, 0.25, 2.0, "sum")
            cls_terms.append((loss, weight, label == 1))
    scale = len(all_weights) / sum(all_weights) if mean_one else 1.0
    normalizer = 100 * 0.9 + max(num_positive, 1) * 0.1
    cls = sum(x * (w * scale if positive and weights_cls else 1) for x, w, positive in cls_terms)
    box = sum(x * (w * scale if weights_box else 1) for x, w in box_terms)
    return {"loss_cls": cls / normalizer, "loss_box_reg": box / normalizer}


@pytest.mark.parametrize(
    ("losses", "normalizer"), [("cls,box", "stock"), ("cls", "stock"), ("cls,box", "mean_one")]
)
def test_losses_equal_the_oracle(losses, normalizer):
    losses = tuple(losses.split(","))
    model = build_model(
        retinanet_config("MODEL.SCB.LOSSES", losses, "MODEL.SCB.NORMALIZER", normalizer)
    )
    data = batch()
    actual, _, scalars = train_step(model, data)
    expected = losses_by_hand(model, data, True, "box" in losses, normalizer == "mean_one")
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=1e-7)
    if normalizer == "mean_one":
        assert scalars["scb/first/mean_weight"] == pytest.approx(1)


def test_cls_only_leaves_the_box_loss_stock():
    ours, stock = pair(retinanet_config("MODEL.SCB.LOSSES", "cls"), stock_config())
    data = batch()
    losses, expected = train_step(ours, data)[0], train_step(stock, data)[0]
    torch.testing.assert_close(losses["loss_box_reg"], expected["loss_box_reg"], rtol=1e-6, atol=0)
    assert losses["loss_cls"] > expected["loss_cls"] * 1.0001


def test_images_without_objects():
    model = build_model(retinanet_config())
    losses, gradients, scalars = train_step(model, [image([]), image([])])
    assert losses["loss_box_reg"] == 0 and losses["loss_cls"] > 0
    assert gradients["head.bbox_pred.weight"].abs().max() == 0
    assert scalars["scb/first/num_objects"] == 0 and scalars["num_pos_anchors"] == 0


def test_object_that_overlaps_no_anchor(caplog):
    outside = [-5000.0, -5000, -4990, -4990]
    data = [image([[20, 25, 90, 80], outside])]
    model = build_model(retinanet_config())
    losses, _, scalars = train_step(model, data)
    assert all(torch.isfinite(x) for x in losses.values())
    assert scalars["scb/first/unmatched"] == 1
    assert "an object that overlaps no anchor" in caplog.text
    model = build_model(retinanet_config("MODEL.SCB.LOW_QUALITY", "reassign"))
    _, (labels,), (matched,) = labels_of(model, data)
    assert matched.match_counts[1] == 0
    assert ((labels >= 0) & (labels != 5)).sum() == matched.match_counts[0] < len(labels) / 2


def test_statistics_are_logged():
    model = build_model(retinanet_config())
    _, _, scalars = train_step(model, batch())
    assert scalars["scb/first/num_objects"] == 4
    names = {f"loss_share_input_{size}" for size in ("small", "medium", "large")}
    names |= {"unmatched", "matches_p10", "matches_p50", "matches_p90", "mean_weight"}
    assert {f"scb/first/{name}" for name in names} <= scalars.keys()
    shares = [v for k, v in scalars.items() if "loss_share" in k]
    assert sum(shares) == pytest.approx(1)


def test_a_users_own_form():
    def by_area(matched_idxs, anchor_labels, gt_boxes):
        return anchor_weights(matched_idxs, anchor_labels, 32 / gt_boxes.area().sqrt())

    model = build_model(retinanet_config())
    model.object_weight = by_area
    _, (labels, _), (matched, _) = labels_of(model, batch())
    positive = (labels >= 0) & (labels != 5)
    expected = 32 / Boxes(matched.gt_boxes[positive]).area().sqrt()
    torch.testing.assert_close(matched.weights[positive], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_weights_in_float32(dtype):
    model = build_model(retinanet_config())
    with torch.autocast("cpu", dtype=dtype):
        losses, gradients, _ = train_step(model, batch())
        _, _, matched = labels_of(model, batch())
    assert all(x.dtype == torch.float32 and torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert all(x.weights.dtype == torch.float32 for x in matched)


def test_inference_equals_stock():
    ours, stock = pair(retinanet_config(), stock_config())
    data = batch()
    with torch.no_grad():
        for a, b in zip(ours.eval()(data), stock.eval()(data), strict=True):
            assert torch.equal(a["instances"].pred_boxes.tensor, b["instances"].pred_boxes.tensor)
            assert torch.equal(a["instances"].scores, b["instances"].scores)


def test_plain_python_construction_equals_the_config():
    from_config = build_model(retinanet_config())
    parts = RetinaNet.from_config(stock_config())
    plain = ScaleBalancedRetinaNet(**parts, object_weight=ScaleBalancedWeight())
    plain.load_state_dict(from_config.state_dict())
    assert_same_training(plain, from_config, batch())


def test_no_tensor_over_all_levels_is_kept_for_the_gradients():
    """Stock joins the logits of all levels and keeps them; the largest of ours is of one level."""
    size, classes, images = (64, 96), 80, 2
    finest = images * classes * 9 * (size[0] // 8) * (size[1] // 8)
    largest = {}
    for weighted in (True, False):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            losses_of("RetinaNet", weighted, "cpu", size)()
        largest[weighted] = max(sizes)
    assert largest[True] == finest < largest[False]
