"""Rotated boxes, where Detectron2 has its compiled operators."""

import math

import pytest
import torch
from detectron2.modeling.proposal_generator.rrpn import RRPN
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from detectron2.structures import Instances, RotatedBoxes, pairwise_iou_rotated
from detectron2.utils.events import EventStorage

from scb_d2 import ConfigError, build_model
from tests import oracle

from .detectors import assert_same_training, pair, train_step
from .rotated import rotated_config as config
from .rotated import rotated_image as image

pytest.importorskip("detectron2._C", reason="needs Detectron2's compiled operators")

BOTH = ("MODEL.SCB.STAGES", ("first", "second"))
UNIFORM = ("MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1)
# centre, width, height, angle; the last two objects are one box
BOXES = [[20, 20, 14, 10, 30], [55, 50, 60, 50, 45], [65, 20, 30, 20, -60], [65, 20, 30, 20, -60]]


def batch():
    return [image(BOXES), image([])]


def test_disabled_is_stock():
    model = build_model(config(enabled=False))
    assert type(model.proposal_generator) is RRPN and type(model.roi_heads) is RROIHeads
    ours = config(
        *("MODEL.PROPOSAL_GENERATOR.NAME", "ScaleBalancedRRPN"),
        *("MODEL.ROI_HEADS.NAME", "ScaleBalancedRROIHeads"),
        enabled=False,
    )
    ours, stock = pair(ours, config(enabled=False))
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data)


@pytest.mark.parametrize("count", ["matched", "sampled"])
@pytest.mark.parametrize("normalizer", ["stock", "mean_one"])
def test_uniform_weight_of_one_equals_stock(count, normalizer):
    scb = (*BOTH, *UNIFORM, "MODEL.SCB.COUNT", count, "MODEL.SCB.NORMALIZER", normalizer)
    ours, stock = pair(config(*scb), config(enabled=False))
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data, rtol=5e-6)


def test_anchors_weigh_by_the_index_of_their_object():
    rpn = build_model(config()).proposal_generator
    maps = [torch.zeros(1, 16, 96 // s, 96 // s) for s in (4, 8, 16, 32, 64)]
    anchors = rpn.anchor_generator(maps)
    data = batch()
    with EventStorage():
        _, matched = rpn.label_and_sample_anchors(anchors, [x["instances"] for x in data])
    gt_boxes = data[0]["instances"].gt_boxes
    quality = pairwise_iou_rotated(gt_boxes, RotatedBoxes.cat(anchors)).tolist()
    idxs, labels = oracle.match(quality, [0.25, 0.45], [0, -1, 1], "stock")
    counts = oracle.count_matches(idxs, labels, len(BOXES))
    assert matched[0].match_counts.tolist() == counts
    weights = torch.tensor(oracle.weigh_anchors(idxs, labels, len(BOXES)))
    torch.testing.assert_close(matched[0].weights, weights, rtol=2e-6, atol=0)
    for index, count in enumerate(counts):
        positive = (matched[0].matched_idxs == index) & (matched[0].anchor_labels == 1)
        if count:
            say = matched[0].weights[positive].sum().item()
            assert say == pytest.approx(3 * (math.log(count) + 1), rel=1e-5)
    assert (matched[1].weights == 1).all() and matched[1].gt_boxes.shape[1] == 5


@pytest.mark.parametrize("count", ["matched", "sampled"])
def test_proposals_weigh_by_the_index_of_their_object(count):
    scb = (*BOTH, "MODEL.SCB.COUNT", count, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 1000)
    heads = build_model(config(*scb, "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0)).roi_heads
    targets = [image(BOXES)["instances"], image([])["instances"]]
    proposals = []
    for boxes in ([[*box[:2], box[2] + i, *box[3:]] for box in BOXES for i in range(3)], BOXES):
        found = Instances((96, 96))
        found.proposal_boxes = RotatedBoxes(torch.tensor(boxes, dtype=torch.float32))
        found.objectness_logits = torch.zeros(len(boxes))
        proposals.append(found)
    with EventStorage():
        sampled = heads.label_and_sample_proposals(proposals, targets)
    # Every object has three proposals and itself; of one box the first object has them all.
    foreground = sampled[0].gt_classes < 5
    weights = sampled[0].scb_weights[foreground].sort().values
    four, eight = 3 * (math.log(4) + 1) / 4, 3 * (math.log(8) + 1) / 8
    torch.testing.assert_close(weights, torch.tensor([eight] * 8 + [four] * 8))
    assert (sampled[1].scb_weights == 1).all()


def test_both_stages_train():
    model = build_model(config(*BOTH))
    for data in (batch(), [image([]), image([])]):
        losses, gradients, scalars = train_step(model, data)
        assert all(torch.isfinite(x) for x in losses.values())
        assert all(torch.isfinite(x).all() for x in gradients.values())
    assert scalars["scb/first/num_objects"] == scalars["scb/second/num_objects"] == 0
    _, _, scalars = train_step(model, batch())
    shares = [v for k, v in scalars.items() if k.startswith("scb/first/loss_share")]
    assert sum(shares) == pytest.approx(1) and scalars["scb/first/num_objects"] == 4


def test_atss_is_refused():
    with pytest.raises(ConfigError, match=r"'atss', but .*RRPN.* matches no anchors by a matcher"):
        build_model(config("MODEL.ANCHOR_MATCHER.NAME", "atss"))
