import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import (
    ConfigError,
    ScaleBalancedMatcher,
    ScaleBalancedWeight,
    anchor_weights,
    match_boxes,
    match_counts,
    object_weights,
)
from scb_d2.loss.object_weights import PAPER_FORMS
from tests import oracle


@st.composite
def matches(draw):
    num_objects = draw(st.integers(0, 6))
    pairs = st.tuples(st.integers(0, max(num_objects - 1, 0)), st.sampled_from([-1, 0, 1]))
    pairs = draw(st.lists(pairs, max_size=40))
    idxs, labels = zip(*pairs, strict=True) if pairs else ((), ())
    return list(idxs), list(labels), num_objects


@given(matches(), st.sampled_from(PAPER_FORMS))
def test_counts_and_weights_equal_the_oracle(case, form):
    idxs, labels, num_objects = case
    matched_idxs = torch.tensor(idxs, dtype=torch.int64)
    anchor_labels = torch.tensor(labels, dtype=torch.int8)
    counts = match_counts(matched_idxs, anchor_labels, num_objects)
    assert counts.dtype == torch.int64
    assert counts.tolist() == oracle.count_matches(idxs, labels, num_objects)
    weights = anchor_weights(matched_idxs, anchor_labels, object_weights(counts, form))
    expected = torch.tensor(oracle.weigh_anchors(idxs, labels, num_objects, form))
    torch.testing.assert_close(weights, expected, rtol=2e-6, atol=0)
    joined = ScaleBalancedWeight(form)(matched_idxs, anchor_labels, torch.zeros(num_objects, 4))
    assert torch.equal(joined, weights)


@given(matches())
def test_what_an_objects_anchors_sum_to(case):
    idxs, labels, num_objects = case
    matched_idxs = torch.tensor(idxs, dtype=torch.int64)
    anchor_labels = torch.tensor(labels, dtype=torch.int8)
    weights = ScaleBalancedWeight()(matched_idxs, anchor_labels, torch.zeros(num_objects, 4))
    counts = match_counts(matched_idxs, anchor_labels, num_objects)
    for index, count in enumerate(counts.tolist()):
        if count:
            own = (matched_idxs == index) & (anchor_labels == 1)
            expected = 3 * (torch.tensor(count).double().log() + 1)
            torch.testing.assert_close(weights[own].double().sum(), expected, rtol=1e-6, atol=0)
    assert (weights[anchor_labels != 1] == 1).all()


def test_index_of_negatives_may_hold_anything():
    matched_idxs = torch.tensor([7, -1, 1, 1])
    anchor_labels = torch.tensor([0, -1, 1, 1], dtype=torch.int8)
    assert match_counts(matched_idxs, anchor_labels, 2).tolist() == [0, 2]
    weights = anchor_weights(matched_idxs, anchor_labels, torch.tensor([5.0, 0.5]))
    assert weights.tolist() == [1, 1, 0.5, 0.5]


def test_no_objects():
    matched_idxs, anchor_labels = torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.int8)
    assert match_counts(matched_idxs, anchor_labels, 0).shape == (0,)
    assert anchor_weights(matched_idxs, anchor_labels, torch.zeros(0)).tolist() == [1] * 5


def test_weights_stay_float32_in_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = ScaleBalancedWeight()(
            torch.tensor([0, 0]), torch.tensor([1, 1], dtype=torch.int8), torch.zeros(1, 4)
        )
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([2.539721] * 2, abs=1e-6)


# The table of Detectron2's own matcher test: 3 objects, 4 anchors.
QUALITY = [[0.15, 0.45, 0.2, 0.6], [0.3, 0.65, 0.05, 0.1], [0.05, 0.4, 0.25, 0.4]]


@pytest.mark.parametrize(
    ("low_quality", "idxs", "counts"),
    [
        # Object 2 ties for its best on anchors 1 and 3, which overlap others more.
        ("stock", [1, 1, 2, 0], [1, 1, 0]),
        # It takes anchor 1, the first of the two, from object 1.
        ("reassign", [1, 2, 2, 0], [1, 0, 1]),
    ],
)
def test_low_quality_matches_by_hand(low_quality, idxs, counts):
    matcher = ScaleBalancedMatcher([0.3, 0.7], [0, -1, 1], True, low_quality)
    matched_idxs, anchor_labels = matcher(torch.tensor(QUALITY))
    assert matched_idxs.tolist() == idxs
    assert anchor_labels.tolist() == [-1, 1, 0, 1]
    assert match_counts(matched_idxs, anchor_labels, 3).tolist() == counts


@pytest.mark.parametrize(
    ("quality", "stock", "reassign"),
    [
        # Both objects are best on anchor 0, which overlaps object 0 more: stock leaves object 1
        # without an anchor, reassign gives the later object the anchor.
        ([[0.4, 0.1], [0.35, 0.2]], ([0, 1], [1, 0], [1, 0]), ([1, 1], [1, 0], [0, 1])),
        # Three anchors tie for the best IoU: stock takes all, reassign the first.
        ([[0.2, 0.2, 0.2, 0.1]], ([0] * 4, [1, 1, 1, 0], [3]), ([0] * 4, [1, 0, 0, 0], [1])),
        # Object 1 overlaps nothing: stock makes every anchor positive.
        (
            [[0.6, 0.0, 0.0], [0.0, 0.0, 0.0]],
            ([0, 0, 0], [1, 1, 1], [3, 0]),
            ([0, 0, 0], [1, 0, 0], [1, 0]),
        ),
        # Identical boxes: the arg-max is the first, reassign gives the best anchor to the last.
        (
            [[0.6, 0.55], [0.6, 0.55]],
            ([0, 0], [1, 1], [2, 0]),
            ([1, 0], [1, 1], [1, 1]),
        ),
    ],
)
def test_ties_crowding_and_objects_without_overlap(quality, stock, reassign):
    for rule, (idxs, labels, counts) in {"stock": stock, "reassign": reassign}.items():
        matcher = ScaleBalancedMatcher([0.5], [0, 1], True, low_quality=rule)
        matched_idxs, anchor_labels = matcher(torch.tensor(quality))
        assert (matched_idxs.tolist(), anchor_labels.tolist()) == (idxs, labels), rule
        assert match_counts(matched_idxs, anchor_labels, len(quality)).tolist() == counts, rule


@given(st.data(), st.sampled_from(["stock", "reassign", None]))
def test_matcher_equals_the_oracle(data, low_quality):
    num_objects, num_anchors = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 0.1, 0.3, 0.4, 0.5, 0.7, 0.9])  # few, so that ties are common
    row = st.lists(values, min_size=num_anchors, max_size=num_anchors)
    quality = data.draw(st.lists(row, min_size=num_objects, max_size=num_objects))
    table = torch.tensor(quality, dtype=torch.float64)
    matcher = ScaleBalancedMatcher(
        [0.4, 0.5], [0, -1, 1], low_quality is not None, low_quality or "reassign"
    )
    matched_idxs, anchor_labels = matcher(table)
    expected = oracle.match(quality, [0.4, 0.5], [0, -1, 1], low_quality)
    assert (matched_idxs.tolist(), anchor_labels.tolist()) == expected
    if low_quality != "reassign":
        stock = Matcher([0.4, 0.5], [0, -1, 1], low_quality is not None)(table)
        assert torch.equal(matched_idxs, stock[0]) and torch.equal(anchor_labels, stock[1])


@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
def test_empty_sides_as_stock(low_quality):
    matcher = ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1], True, low_quality)
    for shape in [(0, 4), (0, 0)]:
        idxs, labels = matcher(torch.zeros(shape))
        assert idxs.tolist() == [0] * shape[1] and labels.tolist() == [0] * shape[1]


def test_matcher_leaves_its_arguments_alone():
    thresholds, labels = [0.4, 0.5], [0, -1, 1]
    ScaleBalancedMatcher(thresholds, labels)
    assert (thresholds, labels) == ([0.4, 0.5], [0, -1, 1])
    ScaleBalancedMatcher((0.4, 0.5), (0, -1, 1))


def test_unknown_rule():
    with pytest.raises(
        ConfigError, match="low_quality must be one of stock, reassign; got 'mmdet'"
    ):
        ScaleBalancedMatcher([0.5], [0, 1], True, "mmdet")


def test_match_boxes_equals_the_oracle_on_boxes():
    torch.manual_seed(0)
    corners, sides = torch.randint(0, 40, (60, 2)), torch.randint(1, 30, (60, 2))
    anchors = torch.cat([corners, corners + sides], 1).float()
    gt_boxes = anchors[:7] + torch.tensor([1.0, 0, 2, 0])
    matcher = ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1], True, "reassign")
    matched_idxs, anchor_labels = match_boxes(Boxes(gt_boxes), Boxes(anchors), matcher)
    quality = [[oracle.iou(g, a) for a in anchors.tolist()] for g in gt_boxes.tolist()]
    expected_idxs, expected_labels = oracle.match(quality, [0.4, 0.5], [0, -1, 1], "reassign")
    assert anchor_labels.tolist() == expected_labels
    positive = anchor_labels == 1
    assert matched_idxs[positive].tolist() == torch.tensor(expected_idxs)[positive].tolist()


@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
def test_scripted_as_detectron2s_matcher_is(low_quality):
    """The table of Detectron2's own test, the thresholds of its RPN."""
    quality = torch.tensor([[0.15, 0.45, 0.2, 0.6], [0.3, 0.65, 0.05, 0.1], [0.05, 0.4, 0.25, 0.4]])
    matcher = ScaleBalancedMatcher([0.3, 0.7], [0, -1, 1], True, low_quality)
    idxs, labels = matcher(quality)
    # Each object's best is its own: reassigning only gives the third its anchor 1.
    assert idxs.tolist() == [1, 2 if low_quality == "reassign" else 1, 2, 0]
    assert labels.tolist() == [-1, 1, 0, 1]

    def build(thresholds: list[float], labels: list[int], rule: str):
        return ScaleBalancedMatcher(
            thresholds, labels, allow_low_quality_matches=True, low_quality=rule
        )

    def match(thresholds: list[float], labels: list[int], rule: str, quality: torch.Tensor):
        return ScaleBalancedMatcher(thresholds, labels, True, rule)(quality)

    settings = ([0.3, 0.7], [0, -1, 1], low_quality)
    built, scripted = torch.jit.script(build)(*settings), torch.jit.script(match)
    for case in (quality, torch.rand(7, 50), torch.zeros(2, 3), torch.zeros(0, 4)):
        for found in (built(case), scripted(*settings, case)):
            for ours, expected in zip(found, matcher(case), strict=True):
                assert torch.equal(ours, expected) and ours.dtype == expected.dtype
