"""Counting near objects finds the labels that training makes, to the bit."""

from itertools import accumulate

import numpy as np
import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st

from scb_d2.loss.atss_matching import ATSSMatcher
from scb_d2.loss.matching import match_boxes
from scb_d2.loss.scale_balanced_matcher import ScaleBalancedMatcher
from scb_d2.matches import near_anchors
from scb_d2.matches.collect import best_ious
from scb_d2.matches.near_anchors import AnchorGrids, NearRule, match_near

STRIDES = (8, 16, 32)
GRIDS = [(12, 16), (6, 8), (3, 4)]  # an image of 96 x 128
GENERATOR = DefaultAnchorGenerator(
    sizes=[[16, 20.2], [32, 40.3], [64, 80.6]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=STRIDES
)
LEVELS = GENERATOR([torch.empty(1, 1, *grid) for grid in GRIDS])
ANCHORS = Boxes.cat(LEVELS)
STARTS = list(accumulate((len(level) for level in LEVELS), initial=0))
NEAR = AnchorGrids.of(ANCHORS.tensor.numpy(), STARTS, GRIDS)
MATCHERS = [
    Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
    Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
    Matcher([0.5], [0, 1], allow_low_quality_matches=False),
    ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1], True, low_quality="reassign"),
    ScaleBalancedMatcher([0.3, 0.7], [0, -1, 1], True),
]


def check(boxes, matcher, anchors=ANCHORS, grids=NEAR):
    gt_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
    near = match_near(gt_boxes.tensor.numpy(), grids, NearRule.of(matcher))
    matched_idxs, anchor_labels = match_boxes(gt_boxes, anchors, matcher)
    positive = (anchor_labels == 1).nonzero()[:, 0]
    expected = best_ious(gt_boxes, anchors)
    if near is None:
        assert (expected == 0).any() and len(positive) == len(anchors)
        return
    assert near.anchors.tolist() == positive.tolist()
    assert near.owners.tolist() == matched_idxs[positive].tolist()
    assert near.best_ious.tolist() == expected.tolist()


number = st.one_of(st.integers(-20, 150), st.floats(-20, 150, width=32))
side = st.one_of(st.integers(1, 100), st.floats(0.5, 100, width=32), st.sampled_from([16, 32]))
box = st.tuples(number, number, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(boxes=st.lists(box, min_size=1, max_size=8), which=st.integers(0, len(MATCHERS) - 1))
def test_random_objects(boxes, which):
    check(boxes, MATCHERS[which])


@pytest.mark.parametrize("matcher", MATCHERS)
def test_twins_and_ties(matcher):
    tied = [[8.0, 8.0, 24.0, 24.0], [8.0, 8.0, 24.0, 24.0], [0.0, 0.0, 32.0, 32.0]]
    check([*tied, [4.0, 4.0, 20.0, 20.0], [60.0, 40.0, 61.0, 90.0]], matcher)


@pytest.mark.parametrize("matcher", MATCHERS)
def test_many_objects_are_taken_in_parts(monkeypatch, matcher):
    monkeypatch.setattr(near_anchors, "_OBJECTS_AT_ONCE", 3)
    corners = torch.randint(0, 90, (20, 2), generator=torch.Generator().manual_seed(0)).float()
    check(torch.cat([corners, corners + 24], dim=1), matcher)


def test_all_anchors_are_looked_at_where_the_rule_or_the_layout_is_another():
    gt_boxes, rule = np.array([[8, 8, 40, 40]], dtype=np.float32), NearRule.of(MATCHERS[0])
    assert NearRule.of(ATSSMatcher()) is None
    assert NearRule.of(Matcher([0.5], [1, 0])) is None
    assert match_near(gt_boxes, NEAR, None) is None
    assert match_near(gt_boxes, None, rule) is None
    clipped = Boxes(ANCHORS.tensor.clone())
    clipped.clip((96, 128))
    shuffled = ANCHORS.tensor[torch.randperm(len(ANCHORS))]
    for anchors in (clipped.tensor, shuffled):
        assert AnchorGrids.of(anchors.numpy(), STARTS, GRIDS) is None


def test_an_object_apart_from_all_anchors():
    far = [[8.0, 8.0, 40.0, 40.0], [4000.0, 4000.0, 4010.0, 4010.0]]
    for matcher in MATCHERS:
        check(far, matcher)


def test_an_offset_and_a_single_cell():
    generator = DefaultAnchorGenerator(
        sizes=[[20], [64]], aspect_ratios=[[1.0]], strides=[16, 64], offset=0.5
    )
    grids = [(2, 3), (1, 1)]
    levels = generator([torch.empty(1, 1, *grid) for grid in grids])
    anchors, starts = Boxes.cat(levels), [0, 6, 7]
    near = AnchorGrids.of(anchors.tensor.numpy(), starts, grids)
    check([[20.0, 3.0, 38.0, 24.0], [0.0, 0.0, 60.0, 60.0]], MATCHERS[0], anchors, near)


def test_columns_and_rows_name_every_anchor_once():
    places = [
        row + column
        for row, grid in zip(NEAR.row_step, NEAR.row_grid, strict=True)
        for column in NEAR.column_step[NEAR.column_grid == grid]
    ]
    assert sorted(places) == list(range(len(ANCHORS)))
    assert len(NEAR.area) == 3 * 6
