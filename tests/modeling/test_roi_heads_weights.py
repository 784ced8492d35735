"""The weights of proposals, before and after sampling and in each cascade stage."""

import math
from functools import partial

import pytest
import torch
from detectron2.modeling.roi_heads import cascade_rcnn as stock_cascade
from detectron2.modeling.roi_heads import roi_heads as stock_heads
from detectron2.utils.events import EventStorage

from scb_d2 import MatchStatistics, ScaleBalancedCascadeROIHeads, build_model
from scb_d2.modeling import roi_heads as ours
from tests import oracle

from .detectors import batch, train_step
from .rcnn import CASCADE, KINDS, feature_shapes
from .roi_heads import (
    OBJECTS,
    PROPOSALS,
    build_heads,
    config,
    matched_by_oracle,
    proposals,
    sample,
    shifted,
    targets,
)


@pytest.mark.parametrize("append_gt", [True, False])
def test_weights_count_all_matched_proposals(append_gt):
    heads = build_heads(
        *("MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", append_gt),
        *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 12),
    )
    (sampled,), scalars = sample(heads, [proposals(PROPOSALS)], [targets(OBJECTS)])
    boxes = PROPOSALS + OBJECTS if append_gt else PROPOSALS
    idxs, labels = matched_by_oracle(boxes, OBJECTS)
    counts = oracle.count_matches(idxs, labels, 4)
    assert counts[2] == 0 < counts[0] and sum(counts) > 3 == (sampled.gt_classes < 5).sum()
    # Of equal boxes the match is the same, so boxes tell sampled proposals apart well enough.
    weight_of = dict(zip(map(tuple, boxes), oracle.weigh_anchors(idxs, labels, 4), strict=True))
    for box, weight in zip(
        sampled.proposal_boxes.tensor.tolist(), sampled.scb_weights.tolist(), strict=True
    ):
        assert weight == pytest.approx(weight_of[tuple(box)], rel=1e-6)
    assert scalars["scb/second/num_objects"] == 4
    assert scalars["scb/second/unmatched"] == counts.count(0)
    # All weights of an object, sampled or not, sum to what it has to say.
    all_weights = oracle.weigh_anchors(idxs, labels, 4)
    for index, count in enumerate(counts):
        own = [
            w for w, i, x in zip(all_weights, idxs, labels, strict=True) if i == index and x == 1
        ]
        assert sum(own) == pytest.approx(3 * (math.log(count) + 1) if count else 0)


def test_weights_count_sampled_proposals():
    heads = build_heads("MODEL.SCB.COUNT", "sampled", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 24)
    (sampled, empty), scalars = sample(
        heads, [proposals(PROPOSALS), proposals(PROPOSALS)], [targets(OBJECTS), targets([])]
    )
    foreground = sampled.gt_classes < 5
    assert foreground.sum() == 6 < sum(matched_by_oracle(PROPOSALS, OBJECTS)[1])
    counts = [(foreground & (sampled.gt_classes == i)).sum().item() for i in range(4)]
    for index, count in enumerate(counts):  # the class is the object's index
        total = sampled.scb_weights[foreground & (sampled.gt_classes == index)].sum().item()
        assert total == pytest.approx(3 * (math.log(count) + 1) if count else 0, rel=1e-6)
    assert (sampled.scb_weights[~foreground] == 1).all() and (empty.scb_weights == 1).all()
    assert scalars["scb/second/unmatched"] == counts.count(0)
    assert not sampled.has("gt_object_ids")


def test_more_objects_than_sampled_proposals():
    boxes = [[8 * i, 8 * j, 8 * i + 8, 8 * j + 8] for i in range(4) for j in range(4)]
    for count in ("matched", "sampled"):
        heads = build_heads("MODEL.SCB.COUNT", count, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8)
        (sampled,), scalars = sample(heads, [proposals(PROPOSALS)], [targets(boxes)])
        assert (sampled.gt_classes < 5).sum() == 2
        assert scalars["scb/second/num_objects"] == 16
        assert scalars["scb/second/unmatched"] == {"matched": 0, "sampled": 14}[count]


def test_cascade_counts_each_stage_by_itself():
    heads = build_heads(kind=CASCADE)
    objects = [targets(OBJECTS), targets([])]
    for stage, threshold in ((1, 0.6), (2, 0.7)):
        with EventStorage() as storage:
            given = [proposals(PROPOSALS), proposals(PROPOSALS)]
            labelled, empty = heads._match_and_label_boxes(given, stage, objects)
            scalars = {k: v for k, (v, _) in storage.latest().items()}
        idxs, labels = matched_by_oracle(PROPOSALS, OBJECTS, threshold)
        expected = torch.tensor(oracle.weigh_anchors(idxs, labels, 4))
        torch.testing.assert_close(labelled.scb_weights, expected, rtol=2e-6, atol=0)
        assert (empty.scb_weights == 1).all()
        counts = oracle.count_matches(idxs, labels, 4)
        assert scalars[f"scb/second_stage{stage}/unmatched"] == counts.count(0)


def test_a_cascade_built_of_parts_logs_each_stage_under_its_own_name():
    cfg = config(CASCADE)
    parts = ScaleBalancedCascadeROIHeads.from_config(cfg, feature_shapes())
    del parts["statistics"]
    for predictor in parts["box_predictors"]:
        predictor.statistics = MatchStatistics("second")  # the default
    model = build_model(cfg)
    model.roi_heads = ScaleBalancedCascadeROIHeads(**parts)
    _, _, scalars = train_step(model, batch())
    names = {name.rpartition("/")[0] for name in scalars if name.endswith("/mean_weight")}
    assert names == {f"scb/second_stage{k}" for k in range(3)}


@pytest.mark.parametrize(("count", "ratio"), [("matched", 2.135), ("sampled", 4.156)])
def test_sampling_keeps_the_say_of_objects_in_proportion_where_m_counts_what_was_matched(
    count, ratio
):
    """60 against 4 matches, 16 sampled: equation 2 gives (ln 60 + 1) / (ln 4 + 1) = 2.135.

    Under `sampled`, 4.156 is the expectation of ln k + 1 over the hypergeometric k that are drawn.
    """
    heads = build_heads(
        *("MODEL.SCB.COUNT", count),
        *("MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", False),
        *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 64),
    )
    objects = [OBJECTS[0], OBJECTS[1]]
    boxes = shifted(objects[1], [0.1 * n for n in range(60)]) + shifted(objects[0], range(4))
    say = torch.zeros(2)
    torch.manual_seed(0)
    with EventStorage():
        for _ in range(400):
            (sampled,) = heads.label_and_sample_proposals([proposals(boxes)], [targets(objects)])
            assert (sampled.gt_classes < 5).sum() == 16
            for index in range(2):  # the class is the object's index
                say[index] += sampled.scb_weights[sampled.gt_classes == index].sum()
    assert say[1] / say[0] == pytest.approx(ratio, rel=0.08)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", ["matched", "sampled"])
def test_every_image_is_matched_once_a_stage(monkeypatch, kind, count):
    model, found = build_model(config(kind, "MODEL.SCB.COUNT", count)), []

    def counting(match, *args):
        found.append(match)
        return match(*args)

    monkeypatch.setattr(ours, "match_boxes", partial(counting, ours.match_boxes))
    for module in (stock_heads, stock_cascade):
        monkeypatch.setattr(module, "pairwise_iou", partial(counting, module.pairwise_iou))
    train_step(model, batch())
    assert len(found) == len(batch()) * (3 if kind == CASCADE else 1)
