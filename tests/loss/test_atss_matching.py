import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import ATSSMatcher, ConfigError
from scb_d2.loss import atss_matching
from scb_d2.loss.matching import match_anchors, match_counts
from tests import oracle

STRIDES = (8, 16, 32)


def levels(size=96, ratios=(0.5, 1.0, 2.0)):
    generator = DefaultAnchorGenerator(
        sizes=[[2 * s] for s in STRIDES], aspect_ratios=list(ratios), strides=list(STRIDES)
    )
    return generator([torch.zeros(1, 1, size // s, size // s) for s in STRIDES])


def match(gt_boxes, anchors, matcher):
    return match_anchors(gt_boxes, Boxes.cat(anchors), [len(x) for x in anchors], matcher)


def test_by_hand():
    # One level of four cells 10 px apart in a row, one 10 x 10 anchor in each.
    x = torch.tensor([0.0, 10, 20, 30])
    anchors = [Boxes(torch.stack([x, 0 * x, x + 10, 0 * x + 10], dim=1))]
    gt_boxes = Boxes(torch.tensor([[0.0, 0, 18, 10], [100, 0, 110, 10], [20, 0, 30, 10]]))
    # Object 0, centre 9: candidates are cells 0 and 1, IoU 100/180 = 0.556 and 80/200 = 0.4. Mean
    # 0.478, deviation 0.110: the threshold is 0.588, none is positive.
    # Object 1, centre 105: cells 3 and 2, IoU 0: none, for their centres lie outside.
    # Object 2, centre 25: cell 2 (IoU 1) and of cells 1 and 3, equally close, the first (IoU 0).
    # Mean 0.5, deviation 0.707: the threshold is 1.207, so not even the perfect anchor.
    idxs, labels = match(gt_boxes, anchors, ATSSMatcher(2))
    assert labels.tolist() == [0, 0, 0, 0]
    # Of four candidates object 0's mean is 0.239, its deviation 0.282, the threshold 0.521; object
    # 2's IoU are 0, 0, 1, 0: 0.25 + 0.5 = 0.75.
    idxs, labels = match(gt_boxes, anchors, ATSSMatcher(4))
    assert labels.tolist() == [1, 0, 1, 0]
    assert idxs[labels == 1].tolist() == [0, 2]
    assert match_counts(idxs, labels, 3).tolist() == [1, 0, 1]


def test_the_greater_overlap_wins_and_the_first_of_equals():
    anchors = levels(ratios=(1.0,))
    box = [8.0, 8, 40, 40]  # an anchor of the second level
    gt_boxes = Boxes(torch.tensor([[4.0, 4, 50, 50], box, box]))
    idxs, labels = match(gt_boxes, anchors, ATSSMatcher(9))
    assert 2 not in idxs[labels == 1].tolist()
    one_by_one = [match(gt_boxes[i], anchors, ATSSMatcher(9))[1] for i in (0, 1)]
    assert torch.equal(labels, one_by_one[0] | one_by_one[1])
    exact = (Boxes.cat(anchors).tensor == gt_boxes.tensor[1]).all(dim=1).nonzero().item()
    assert labels[exact] == 1 and idxs[exact] == 1


coordinates = st.integers(-20, 100)
boxes = st.tuples(coordinates, coordinates, st.integers(0, 90), st.integers(0, 90)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@given(
    st.lists(boxes, max_size=7),
    st.sampled_from([1, 3, 9, 500]),
    st.sampled_from([(1.0,), (0.5, 1.0, 2.0)]),
    st.sampled_from([1, 5000, 10**7]),
)
def test_equals_oracle_whatever_the_chunks(found, num_candidates, ratios, pairs):
    anchors = levels(64, ratios)
    expected = oracle.match_atss(
        found, [x.tensor.tolist() for x in anchors], num_candidates, len(ratios)
    )
    gt_boxes = Boxes(torch.tensor(found, dtype=torch.float32).reshape(-1, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(atss_matching._PAIRS, "cpu", pairs)
        idxs, labels = match(gt_boxes, anchors, ATSSMatcher(num_candidates, len(ratios)))
    assert labels.tolist() == expected[1]
    positive = labels == 1
    assert idxs[positive].tolist() == torch.tensor(expected[0])[positive].tolist()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 40))
def test_smallest_takes_the_first_of_equals(values, number):
    number = min(number, len(values))
    expected = sorted(sorted(range(len(values)), key=lambda i: (values[i], i))[:number])
    found = atss_matching._smallest(torch.tensor([values], dtype=torch.float32), number)
    assert found.tolist() == [expected]


def test_no_objects():
    idxs, labels = match(Boxes(torch.zeros(0, 4)), levels(), ATSSMatcher(9, 3))
    assert labels.sum() == 0 and len(labels) == len(idxs) == sum(map(len, levels()))


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9"])
def test_numbers_that_are_none(value):
    with pytest.raises(ConfigError, match="num_candidates must be a whole number above 0"):
        ATSSMatcher(value)
