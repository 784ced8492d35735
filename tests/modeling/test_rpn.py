import math

import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.export import scripting_with_instances
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, ImageList, pairwise_iou
from detectron2.utils.events import EventStorage
from PIL import Image
from torch.nn import functional as F

from scb_d2 import ScaleBalancedRPN, ScaleBalancedWeight, build_model
from tests import oracle

from .detectors import assert_same_training, batch, image, pair, train_step
from .rcnn import BOX_LOSSES, FEATURES, feature_shapes, rcnn_config, sample_anchors

OBJECTS = [[10, 10, 22, 21], [20, 25, 90, 80], [21, 25, 90, 80], [50, 5, 80, 30]]


def stock_config(*opts):
    return rcnn_config("StandardROIHeads", *opts, enabled=False)


def config(*opts):
    return rcnn_config("StandardROIHeads", *opts)


def off_config(*opts):
    return stock_config("MODEL.PROPOSAL_GENERATOR.NAME", "ScaleBalancedRPN", *opts)


def build_rpn(*opts):
    return ScaleBalancedRPN(config(*opts), feature_shapes())


def features(size=96, images=1):
    return {f: torch.randn(images, 16, -(-size // s), -(-size // s)) for f, s in FEATURES.items()}


def targets(*boxes_of_images):
    return [image(boxes)["instances"] for boxes in boxes_of_images]


def matched_by_oracle(anchors, boxes, low_quality="stock"):
    quality = pairwise_iou(Boxes(torch.tensor(boxes, dtype=torch.float32)), anchors).tolist()
    return oracle.match(quality, [0.25, 0.45], [0, -1, 1], low_quality)


def test_only_the_proposal_generator_is_swapped():
    ours, stock = build_model(config()), build_model(stock_config())
    assert type(stock.proposal_generator) is RPN
    assert type(ours.proposal_generator) is ScaleBalancedRPN
    assert type(ours.roi_heads) is type(stock.roi_heads)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, stock)]
    assert shapes[0] == shapes[1]


def test_same_seed_same_weights_as_stock():
    torch.manual_seed(5)
    ours = build_model(config()).state_dict()
    torch.manual_seed(5)
    for name, value in build_model(stock_config()).state_dict().items():
        assert torch.equal(ours[name], value)


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_without_object_weight_equals_stock_bit_for_bit(box_loss):
    opts = ["MODEL.RPN.BBOX_REG_LOSS_TYPE", box_loss]
    ours, stock = pair(off_config(*opts), stock_config(*opts))
    assert type(ours.proposal_generator) is ScaleBalancedRPN
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data)


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("normalizer", ["stock", "mean_one"])
def test_uniform_weight_of_one_equals_stock(box_loss, normalizer):
    opts = [
        *("MODEL.RPN.BBOX_REG_LOSS_TYPE", box_loss),
        *("MODEL.RPN.LOSS_WEIGHT", 2.0),
        *("MODEL.RPN.BBOX_REG_LOSS_WEIGHT", 0.7),
    ]
    scb = ["MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1, "MODEL.SCB.NORMALIZER", normalizer]
    ours, stock = pair(config(*opts, *scb), stock_config(*opts))
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data, rtol=1e-6)


@pytest.mark.parametrize("boundary", [-1, 0])
@pytest.mark.parametrize("count", ["matched", "sampled"])
def test_samples_the_same_anchors_as_stock(boundary, count):
    opts = ["MODEL.RPN.BOUNDARY_THRESH", boundary]
    ours = build_rpn("MODEL.SCB.COUNT", count, *opts)
    stock = RPN(stock_config(*opts), feature_shapes())
    data = targets(OBJECTS, [])
    torch.manual_seed(3)
    _, labels, matched = sample_anchors(ours, features(), data)
    torch.manual_seed(3)
    _, expected, expected_boxes = sample_anchors(stock, features(), data)
    for i in range(2):
        assert torch.equal(labels[i], expected[i])
        assert torch.equal(matched[i].gt_boxes, expected_boxes[i])


@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
@pytest.mark.parametrize("boundary", [-1, 0])
def test_weights_equal_the_oracle_before_sampling(low_quality, boundary):
    rpn = build_rpn(
        *("MODEL.SCB.LOW_QUALITY", low_quality),
        *("MODEL.RPN.BOUNDARY_THRESH", boundary),
        *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 8),
    )
    anchors, (labels,), (matched,) = sample_anchors(rpn, features(), targets(OBJECTS))
    idxs, expected = matched_by_oracle(anchors, OBJECTS, low_quality)
    if boundary == 0:
        outside = ~anchors.inside_box((96, 96), 0)
        expected = [-1 if out else x for x, out in zip(expected, outside.tolist(), strict=True)]
    assert sum(x == 1 for x in expected) > (labels == 1).sum() == 4
    assert matched.match_counts.tolist() == oracle.count_matches(idxs, expected, 4)
    weights = torch.tensor(oracle.weigh_anchors(idxs, expected, 4))
    torch.testing.assert_close(matched.weights, weights, rtol=2e-6, atol=0)
    for index, count in enumerate(matched.match_counts.tolist()):
        own = (torch.tensor(idxs) == index) & (torch.tensor(expected) == 1)
        if count:
            assert matched.weights[own].sum().item() == pytest.approx(3 * (math.log(count) + 1))


def test_weights_equal_the_oracle_after_sampling():
    rpn = build_rpn("MODEL.SCB.COUNT", "sampled", "MODEL.RPN.BATCH_SIZE_PER_IMAGE", 16)
    anchors, (labels,), (matched,) = sample_anchors(rpn, features(), targets(OBJECTS))
    idxs, before = matched_by_oracle(anchors, OBJECTS)
    assert sum(x == 1 for x in before) > 8 == (labels == 1).sum()
    counts = oracle.count_matches(idxs, labels.tolist(), 4)
    assert matched.match_counts.tolist() == counts
    for index, count in enumerate(counts):
        own = (torch.tensor(idxs) == index) & (labels == 1)
        expected = 3 * (math.log(count) + 1) if count else 0
        assert matched.weights[own].sum().item() == pytest.approx(expected)
    assert (matched.weights[labels != 1] == 1).all()


@pytest.mark.parametrize("count", ["matched", "sampled"])
def test_more_objects_than_sampled_anchors(count):
    boxes = [[8 * i, 8 * j, 8 * i + 9, 8 * j + 8] for i in range(4) for j in range(4)]
    opts = ["MODEL.SCB.COUNT", count, "MODEL.RPN.BATCH_SIZE_PER_IMAGE", 6]
    _, (labels,), (matched,) = sample_anchors(build_rpn(*opts), features(), targets(boxes))
    assert (labels == 1).sum() == 3
    assert ((matched.match_counts == 0).sum() >= 13) == (count == "sampled")
    losses, _, _ = train_step(build_model(config(*opts)), [image(boxes)])
    assert all(torch.isfinite(x) for x in losses.values())


def test_identical_boxes_are_told_apart_by_index():
    boxes = [[20, 25, 90, 80]] * 2
    for low_quality, second in (("stock", 0), ("reassign", 1)):
        rpn = build_rpn("MODEL.SCB.LOW_QUALITY", low_quality)
        _, _, (matched,) = sample_anchors(rpn, features(), targets(boxes))
        first_count, second_count = matched.match_counts.tolist()
        assert second_count == second and first_count >= 1


def losses_by_hand(rpn, maps, data, count, weighted, mean_one):
    """Stock's losses written out per anchor, with weights from the oracle."""
    torch.manual_seed(1)
    anchors, labels, _ = sample_anchors(rpn, maps, data)
    logits, deltas = rpn.rpn_head([maps[f] for f in rpn.in_features])
    logits = torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in logits], 1)
    deltas = [x.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]
    deltas = torch.cat(deltas, 1)
    cls_terms, box_terms, used = [], [], []
    for i, instances in enumerate(data):
        boxes = instances.gt_boxes.tensor
        if len(boxes):
            idxs, matched_labels = matched_by_oracle(anchors, boxes.tolist())
        else:
            idxs = matched_labels = [0] * len(anchors)
        counted = labels[i].tolist() if count == "sampled" else matched_labels
        weights = oracle.weigh_anchors(idxs, counted, len(boxes))
        for r, label in enumerate(labels[i].tolist()):
            if label == -1:
                continue
            loss = F.binary_cross_entropy_with_logits(logits[i, r], torch.tensor(float(label)))
            cls_terms.append((loss, weights[r] if label == 1 else None))
            if label == 1:
                used.append(weights[r])
                gt_box = boxes[idxs[r]][None]
                delta = rpn.box2box_transform.get_deltas(anchors.tensor[r][None], gt_box)[0]
                box_terms.append(((deltas[i, r] - delta).abs().sum(), weights[r]))
    scale = len(used) / sum(used) if mean_one else 1.0
    cls = sum(x * (1 if w is None or "cls" not in weighted else w * scale) for x, w in cls_terms)
    box = sum(x * (w * scale if "box" in weighted else 1) for x, w in box_terms)
    divisor = rpn.batch_size_per_image * len(data)
    return {"loss_rpn_cls": 2 * cls / divisor, "loss_rpn_loc": 2 * 0.7 * box / divisor}


@pytest.mark.parametrize("count", ["matched", "sampled"])
@pytest.mark.parametrize(
    ("weighted", "normalizer"),
    [
        (("cls", "box"), "stock"),
        (("cls",), "stock"),
        (("box",), "stock"),
        (("cls", "box"), "mean_one"),
    ],
)
def test_losses_equal_the_oracle(count, weighted, normalizer):
    rpn = build_rpn(
        *("MODEL.SCB.COUNT", count),
        *("MODEL.SCB.LOSSES", weighted),
        *("MODEL.SCB.NORMALIZER", normalizer),
        *("MODEL.RPN.LOSS_WEIGHT", 2.0),
        *("MODEL.RPN.BBOX_REG_LOSS_WEIGHT", 0.7),
        *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 24),
    )
    data, maps = targets(OBJECTS, []), features(images=2)
    images = ImageList(torch.zeros(2, 3, 96, 96), [(96, 96)] * 2)
    expected = losses_by_hand(rpn, maps, data, count, weighted, normalizer == "mean_one")
    torch.manual_seed(1)
    with EventStorage() as storage:
        _, actual = rpn(images, maps, data)
        mean_weight, _ = storage.latest()["scb/first/mean_weight"]
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=1e-7)
    if normalizer == "mean_one":
        assert mean_weight == pytest.approx(1)


def test_images_without_objects():
    model = build_model(config())
    losses, gradients, scalars = train_step(model, [image([]), image([])])
    assert losses["loss_rpn_loc"] == 0 and losses["loss_rpn_cls"] > 0
    assert gradients["proposal_generator.rpn_head.anchor_deltas.weight"].abs().max() == 0
    assert scalars["scb/first/num_objects"] == 0 and scalars["rpn/num_pos_anchors"] == 0


def test_crowds_are_no_objects(tmp_path):
    Image.new("RGB", (96, 96)).save(tmp_path / "image.png")
    cfg = config("INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", (96,))
    annotation = {"bbox_mode": 0, "category_id": 0}
    record = {
        "file_name": str(tmp_path / "image.png"),
        "height": 96,
        "width": 96,
        "annotations": [
            {**annotation, "bbox": [20, 25, 90, 80], "iscrowd": 0},
            {**annotation, "bbox": [10, 10, 22, 21], "iscrowd": 1},
        ],
    }
    _, _, scalars = train_step(build_model(cfg), [DatasetMapper(cfg, is_train=True)(record)])
    assert scalars["scb/first/num_objects"] == 1


def test_object_that_overlaps_no_anchor(caplog):
    data = [image([[20, 25, 90, 80], [-5000.0, -5000, -4990, -4990]])]
    losses, _, scalars = train_step(build_model(config()), data)
    assert all(torch.isfinite(x) for x in losses.values())
    assert scalars["scb/first/unmatched"] == 1
    assert "an object that overlaps no anchor" in caplog.text


def test_statistics_follow_the_period():
    model = build_model(config("MODEL.SCB.LOG_PERIOD", 5, "SOLVER.MAX_ITER", 8))
    logged = []
    with EventStorage(2) as storage:
        for iteration in range(2, 8):
            storage.iter = iteration
            model.train()(batch())
            logged.append(storage.latest()["scb/first/mean_weight"][1])
    assert logged == [2, 2, 2, 5, 5, 7]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_weights_in_float32(dtype):
    model = build_model(config())
    with torch.autocast("cpu", dtype=dtype):
        losses, gradients, _ = train_step(
            model, [image([[5, 5, 25, 29]], size=32), image([], size=32)]
        )
        _, _, matched = sample_anchors(model.proposal_generator, features(), targets(OBJECTS))
    assert all(x.dtype == torch.float32 and torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert matched[0].weights.dtype == torch.float32


def test_plain_python_construction_equals_the_config():
    from_config = build_rpn()
    plain = ScaleBalancedRPN(
        **RPN.from_config(stock_config(), feature_shapes()), object_weight=ScaleBalancedWeight()
    )
    plain.load_state_dict(from_config.state_dict())
    images = ImageList(torch.zeros(1, 3, 96, 96), [(96, 96)])
    maps, data = features(), targets(OBJECTS)
    losses = []
    for rpn in (plain, from_config):
        torch.manual_seed(1)
        with EventStorage():
            losses.append(rpn(images, maps, data)[1])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_scripts_to_the_same_proposals(weighted):
    rpn = ScaleBalancedRPN(config() if weighted else stock_config(), feature_shapes()).eval()
    images, maps = ImageList(torch.zeros(1, 3, 96, 96), [(96, 96)]), features()
    fields = {"proposal_boxes": Boxes, "objectness_logits": torch.Tensor}
    (expected,), _ = rpn(images, maps)
    (scripted,), _ = scripting_with_instances(rpn, fields)(images, maps)
    assert torch.equal(scripted.proposal_boxes.tensor, expected.proposal_boxes.tensor)
    assert torch.equal(scripted.objectness_logits, expected.objectness_logits)
