import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st

from scb_d2.loss import point_matching
from scb_d2.loss.matching import match_anchors, match_counts
from scb_d2.loss.point_matching import PointMatcher
from tests import oracle

STRIDES = (8, 16, 32)


class _Radius:
    center_sampling_radius = 1.5


def levels(size=96, strides=STRIDES):
    """Points of a square image as Detectron2's FCOS makes them."""
    generator = DefaultAnchorGenerator(
        sizes=[[s] for s in strides], aspect_ratios=[1.0], strides=list(strides)
    )
    return generator([torch.zeros(1, 1, size // s, size // s) for s in strides])


def match(gt_boxes, anchors, radius=1.5):
    sizes = [len(x) for x in anchors]
    return match_anchors(gt_boxes, Boxes.cat(anchors), sizes, PointMatcher(radius))


def stock_match(gt_boxes, anchors):
    """What Detectron2's ``label_anchors`` does."""
    quality, matched_idxs = FCOS._match_anchors(_Radius, gt_boxes, anchors).max(dim=0)
    return matched_idxs, (quality >= 1e-5).to(torch.int8)


def test_by_hand():
    # On a 32 px image: points of stride 8 at 4, 12, 20, 28 and of stride 16 at 8, 24.
    anchors = levels(32, (8, 16))
    gt_boxes = Boxes(
        torch.tensor(
            [
                [0.0, 0, 30, 30],  # points within 12 px of (15, 15): not 28
                [7, 7, 21, 21],  # holds 12 and 20, and is the smaller of the two
                [13, 13, 19, 19],  # lies between the points
            ]
        )
    )
    matched_idxs, labels = match(gt_boxes, anchors)
    fine = labels[:16].reshape(4, 4)
    assert fine.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    owners = matched_idxs[:16].reshape(4, 4)[:3, :3]
    assert owners.tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    # An object of the coarser level has a farthest edge beyond 64 px: there is none.
    assert labels[16:].sum() == 0
    assert match_counts(matched_idxs, labels, 3).tolist() == [5, 4, 0]


coordinates = st.integers(-40, 140).map(lambda x: x / 2)
edges = st.one_of(st.integers(0, 300).map(lambda x: x / 2), st.sampled_from([0.5, 64.0, 20000.0]))
boxes = st.tuples(coordinates, coordinates, edges, edges).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@given(st.lists(boxes, max_size=12), st.sampled_from([1, 3 * 189, 10**6]))
def test_equals_stock_on_every_point_whatever_the_chunks(found, pairs):
    anchors, gt_boxes = levels(), Boxes(torch.tensor(found).reshape(-1, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(point_matching._PAIRS, "cpu", pairs)
        matched_idxs, labels = match(gt_boxes, anchors)
    if not found:
        assert labels.sum() == 0
        return
    stock_idxs, stock_labels = stock_match(gt_boxes, anchors)
    assert torch.equal(labels, stock_labels)
    assert torch.equal(matched_idxs[labels == 1], stock_idxs[labels == 1])


@given(st.lists(boxes, max_size=8), st.sampled_from([0.5, 1.5, 3.0]))
def test_equals_oracle(found, radius):
    # Detectron2 tells areas apart to 8 square pixels, the spacing of float32 at 1e8.
    found = list({round(((b[2] - b[0]) * (b[3] - b[1])) / 64): b for b in found}.values())
    found = [b for b in found if (b[2] - b[0]) * (b[3] - b[1]) < 1e7]
    anchors = levels()
    points = []
    for number, (level, stride) in enumerate(zip(anchors, STRIDES, strict=True)):
        least = 0 if number == 0 else 4 * stride
        most = float("inf") if number == len(STRIDES) - 1 else 8 * stride
        points += [(x, y, stride, least, most) for x, y in level.get_centers().tolist()]
    idxs, labels = match(Boxes(torch.tensor(found).reshape(-1, 4)), anchors, radius)
    expected_idxs, expected = oracle.match_points(found, points, radius)
    assert labels.tolist() == expected
    positive = labels == 1
    assert idxs[positive].tolist() == torch.tensor(expected_idxs)[positive].tolist()


def test_a_crowd_needs_no_table():
    """The largest tensor that matching 3,000 objects makes holds a part of G x R entries."""
    corner = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)) * 700
    gt_boxes = Boxes(torch.cat([corner, corner + 4 + corner.flip(1) / 8], dim=1))
    anchors = levels(768)
    largest = 0

    class _Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with _Sizes():
        matched_idxs, labels = match(gt_boxes, anchors)
    assert 0 < largest <= point_matching._PAIRS["cpu"]
    stock_idxs, stock_labels = stock_match(gt_boxes, anchors)
    assert torch.equal(labels, stock_labels)
    assert torch.equal(matched_idxs[labels == 1], stock_idxs[labels == 1])
