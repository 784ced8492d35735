import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes

from scb_d2 import ScaleBalancedWeight, match_boxes, match_counts
from scb_d2.projects.ssd import build_ssd_matcher, match_objects
from tests.projects.builders import objects

from .builders import GT_BOXES
from .test_anchors import _generator

EXPECTED = {
    "ssd300_voc.yaml": ([1, 16, 8, 12], [3, 0.707360, 1.154791, 0.871227]),
    "ssd300_coco.yaml": ([1, 8, 7, 12], [3, 1.154791, 1.262533, 0.871227]),
}


def _anchors(config: str) -> Boxes:
    generator, features = _generator(config)
    return Boxes.cat(generator(features))


@pytest.mark.parametrize("matching", ["table", "blocks"])
@pytest.mark.parametrize("config", EXPECTED)
def test_matches_and_weights_of_the_fixture(config: str, matching: str) -> None:
    counts, expected_weights = EXPECTED[config]
    gt = objects(GT_BOXES, [0, 1, 2, 3], size=300)
    labels, matched = match_objects(
        _anchors(config), gt, build_ssd_matcher(matching), 20, ScaleBalancedWeight()
    )
    assert matched.match_counts.tolist() == counts
    assert [(labels == c).sum().item() for c in range(4)] == counts
    assert (labels == 20).sum() == 8732 - sum(counts)
    for index, weight in enumerate(expected_weights):
        assert torch.allclose(
            matched.weights[labels == index], torch.tensor(float(weight)), atol=1e-4
        )
        assert (matched.gt_boxes[labels == index] == gt.gt_boxes.tensor[index]).all()
    assert (matched.weights[labels == 20] == 1).all()


def test_stock_matching_would_count_tied_anchors() -> None:
    """16 anchors tie in exact arithmetic, fewer after rounding."""
    stock = Matcher([0.5], [0, 1], allow_low_quality_matches=True)
    matched_idxs, anchor_labels = match_boxes(
        objects(GT_BOXES).gt_boxes, _anchors("ssd300_voc.yaml"), stock
    )
    assert match_counts(matched_idxs, anchor_labels, 4)[0] > 1


def test_threshold_itself_is_positive() -> None:
    """IoU of exactly 0.5 matches, beside the forced anchor of IoU 1."""
    gt = objects([(0, 0, 10, 10)])
    anchors = Boxes(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.9]]))
    labels, _ = match_objects(anchors, gt, build_ssd_matcher(), 4)
    assert labels.tolist() == [0, 0, 4]


def test_no_objects_leave_every_anchor_negative() -> None:
    anchors = _anchors("ssd300_voc.yaml")
    labels, matched = match_objects(
        anchors, objects([]), build_ssd_matcher(), 20, ScaleBalancedWeight()
    )
    assert (labels == 20).all() and (matched.weights == 1).all()
    assert matched.match_counts.shape == (0,)


def test_coder() -> None:
    deltas = Box2BoxTransform((10.0, 10.0, 5.0, 5.0)).get_deltas(
        torch.tensor([[-11.0, -11, 19, 19]]), torch.tensor([[0.0, 2, 24, 26]])
    )
    expected = [2.666667, 3.333333, -1.115718, -1.115718]
    assert deltas[0].tolist() == pytest.approx(expected, abs=1e-5)
