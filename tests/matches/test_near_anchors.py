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
from scb_d2.loss.matching import ScaleBalancedMatcher, match_boxes
from scb_d2.matches.collect import best_ious
from scb_d2.matches.near_anchors import anchor_grid, match_near

STRIDES = (8, 16, 32)
GRIDS = [(12, 16), (6, 8), (3, 4)]  # an image of 96 x 128
GENERATOR = DefaultAnchorGenerator(
    sizes=[[16, 20.2], [32, 40.3], [64, 80.6]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=STRIDES
)
LEVELS = GENERATOR([torch.empty(1, 1, *grid) for grid in GRIDS])
ANCHORS = Boxes.cat(LEVELS)
STARTS = list(accumulate((len(level) for level in LEVELS), initial=0))
GRID = anchor_grid(ANCHORS.tensor, STARTS, GRIDS)
MATCHERS = [
    Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
    Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
    Matcher([0.5], [0, 1], allow_low_quality_matches=False),
    ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1], True, low_quality="reassign"),
    ScaleBalancedMatcher([0.3, 0.7], [0, -1, 1], True),
]


def check(boxes, matcher):
    gt_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
    near = match_near(gt_boxes, ANCHORS.tensor, GRID, matcher)
    matched_idxs, anchor_labels = match_boxes(gt_boxes, ANCHORS, matcher)
    positive = (anchor_labels == 1).nonzero()[:, 0]
    expected = best_ious(gt_boxes, ANCHORS)
    if near is None:
        assert (expected == 0).any() and len(positive) == len(ANCHORS)
        return
    assert torch.equal(near.anchors, positive)
    assert torch.equal(near.objects, matched_idxs[positive])
    assert torch.equal(near.best_ious, expected)


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


def test_all_anchors_are_looked_at_where_the_rule_or_the_layout_is_another():
    gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 40.0, 40.0]]))
    assert match_near(gt_boxes, ANCHORS.tensor, GRID, ATSSMatcher()) is None
    assert match_near(gt_boxes, ANCHORS.tensor, GRID, Matcher([0.5], [1, 0])) is None
    assert match_near(gt_boxes, ANCHORS.tensor, None, MATCHERS[0]) is None
    clipped = Boxes(ANCHORS.tensor.clone())
    clipped.clip((96, 128))
    assert anchor_grid(clipped.tensor, STARTS, GRIDS) is None


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
    grid = anchor_grid(anchors.tensor, starts, grids)
    assert grid.cells.tolist() == [[3, 2], [1, 1]] and grid.starts.tolist() == [0, 6]
    gt_boxes = Boxes(torch.tensor([[20.0, 3.0, 38.0, 24.0], [0.0, 0.0, 60.0, 60.0]]))
    near = match_near(gt_boxes, anchors.tensor, grid, MATCHERS[0])
    matched_idxs, anchor_labels = match_boxes(gt_boxes, anchors, MATCHERS[0])
    positive = (anchor_labels == 1).nonzero()[:, 0]
    assert torch.equal(near.anchors, positive)
    assert torch.equal(near.objects, matched_idxs[positive])


def test_shapes_are_told_apart():
    assert len(GRID.shapes) == 3 * 6 and len({tuple(x) for x in GRID.shapes}) == 18
    assert np.array_equal(np.unique(GRID.strides), STRIDES)
