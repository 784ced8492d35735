import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import ScaleBalancedMatcher, match_boxes
from scb_d2.loss import matching_in_blocks as block_matching


def matchers():
    """Every rule, each by blocks."""
    for low_quality in ("stock", "reassign"):
        for allowed in (True, False):
            yield ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1], allowed, low_quality, "blocks")
    yield ScaleBalancedMatcher([0.3, 0.7], [0, -1, 1], True, "stock", "blocks")
    yield ScaleBalancedMatcher([0.5], [0, 1], True, "reassign", "blocks")
    yield Matcher([0.4, 0.5], [0, -1, 1], True)


def assert_like_the_table(gt_boxes, anchors):
    gt_boxes, anchors = Boxes(gt_boxes), Boxes(anchors)
    for matcher in matchers():
        expected_idxs, expected_labels = matcher(pairwise_iou(gt_boxes, anchors))
        matched_idxs, anchor_labels = match_boxes(gt_boxes, anchors, matcher)
        assert anchor_labels.dtype == expected_labels.dtype
        assert torch.equal(anchor_labels, expected_labels), vars(matcher)
        assert torch.equal(matched_idxs, expected_idxs), vars(matcher)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(block_matching, "_MIN_BLOCK", 4)
    monkeypatch.setitem(block_matching._PAIRS, "cpu", 32)


def boxes_of_whole_numbers(side):
    """Few distinct corners, so that ties, duplicates and touching boxes are common."""
    corner = st.tuples(st.integers(-4, 12), st.integers(-4, 12))
    size = st.tuples(st.integers(0, side), st.integers(0, side))
    return st.tuples(corner, size).map(lambda b: [*b[0], b[0][0] + b[1][0], b[0][1] + b[1][1]])


@given(
    st.lists(boxes_of_whole_numbers(12), max_size=9),
    st.lists(boxes_of_whole_numbers(8), max_size=40),
)
def test_ties_duplicates_and_empty_sets(gt_boxes, anchors):
    assert_like_the_table(
        torch.tensor(gt_boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(anchors, dtype=torch.float32).reshape(-1, 4),
    )


def grid(strides=(8, 16, 32), size=128, scales=(4, 5, 6.3), ratios=(0.5, 1, 2)):
    """Anchors as a generator lays them out."""
    levels = []
    for stride in strides:
        y, x = torch.meshgrid(*[torch.arange(0, size, stride).float()] * 2, indexing="ij")
        shapes = [(stride * s * r**-0.5, stride * s * r**0.5) for r in ratios for s in scales]
        cell = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in shapes])
        levels.append((torch.stack([x, y, x, y], -1).reshape(-1, 1, 4) + cell).reshape(-1, 4))
    return torch.cat(levels)


def random_boxes(count, size=128):
    sides = torch.exp(torch.rand(count, 2) * 3 + 1.5)
    centres = torch.rand(count, 2) * size
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


@pytest.mark.parametrize("count", [1, 7, 60])
def test_anchors_of_a_pyramid(count):
    assert_like_the_table(random_boxes(count), grid())


def test_anchors_in_any_order():
    anchors = grid()
    assert_like_the_table(random_boxes(20), anchors[torch.randperm(len(anchors))])


def test_objects_equal_to_anchors_and_to_each_other():
    anchors = grid()
    gt_boxes = anchors[torch.randint(len(anchors), (10,))]
    assert_like_the_table(torch.cat([gt_boxes, gt_boxes.flip(0)]), anchors)


def test_duplicate_anchors():
    assert_like_the_table(random_boxes(5), grid().repeat(2, 1))


def test_object_that_overlaps_nothing():
    outside = torch.tensor([[-900.0, -900, -890, -890]])
    assert_like_the_table(torch.cat([random_boxes(3), outside]), grid())
    assert_like_the_table(outside, grid())


def test_objects_without_area():
    flat = torch.tensor([[10.0, 10, 10, 30], [20, 20, 20, 20], [60, 60, 50, 50]])
    assert_like_the_table(torch.cat([flat, random_boxes(3)]), grid())


def test_iou_on_a_threshold():
    # IoU 0.5, 0.4 and 0.5 exactly: 8 of 16, 4 of 10, 6 of 12.
    anchors = torch.tensor([[0.0, 0, 4, 2], [4, 4, 9, 6], [0, 0, 4, 3], [1, 0, 5, 2]])
    assert_like_the_table(torch.tensor([[0.0, 0, 4, 4], [4, 4, 6, 6]]), anchors)


def test_one_object_and_large_blocks(monkeypatch):
    monkeypatch.setattr(block_matching, "_MIN_BLOCK", 1 << 20)
    assert_like_the_table(random_boxes(1), grid())


def test_the_way_of_a_gpu(monkeypatch):
    monkeypatch.setattr(block_matching, "_kind", lambda tensor: "cuda")
    monkeypatch.setitem(block_matching._PAIRS, "cuda", 512)
    assert_like_the_table(random_boxes(9), grid())
    assert_like_the_table(torch.tensor([[-900.0, -900, -890, -890]]), grid())


def test_a_matcher_of_ones_own_is_given_the_table():
    class Everything(Matcher):
        def __call__(self, match_quality_matrix):
            assert match_quality_matrix.shape == (2, len(anchors))
            return super().__call__(match_quality_matrix)

    anchors, gt_boxes = grid(), random_boxes(2)
    matcher = Everything([0.5], [0, 1])
    idxs, labels = match_boxes(Boxes(gt_boxes), Boxes(anchors), matcher)
    stock = Matcher([0.5], [0, 1])(pairwise_iou(Boxes(gt_boxes), Boxes(anchors)))
    assert torch.equal(idxs, stock[0]) and torch.equal(labels, stock[1])


def test_who_makes_a_table(monkeypatch):
    monkeypatch.setattr("scb_d2.loss.matching.pairwise_iou", None)
    monkeypatch.setattr("scb_d2.loss.matching._CPU_TABLE_LIMIT", 4 * len(grid()))

    def match(matching, count):
        matcher = ScaleBalancedMatcher([0.5], [0, 1], True, "stock", matching)
        match_boxes(Boxes(random_boxes(count)), Boxes(grid()), matcher)

    match("blocks", 1)
    match("auto", 4)
    for matching, count in [("auto", 3), ("table", 4)]:
        with pytest.raises(TypeError):
            match(matching, count)
