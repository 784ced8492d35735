"""MODEL.ANCHOR_MATCHER: ATSS for RetinaNet and RPN, with the loss and without."""

import pytest
import torch
from detectron2.modeling import RetinaNet
from detectron2.modeling.proposal_generator import RPN
from detectron2.utils.events import EventStorage

from scb_d2 import (
    ATSSMatcher,
    ConfigError,
    ScaleBalancedRetinaNet,
    ScaleBalancedRPN,
    build_model,
)
from tests import oracle
from tests.projects.builders import project_config

from .detectors import assert_same_training, batch, image, pair, retinanet_config, train_step
from .rcnn import STANDARD, rcnn_config

ATSS = ("MODEL.ANCHOR_MATCHER.NAME", "atss", "MODEL.ANCHOR_MATCHER.NUM_CANDIDATES", 4)
UNIFORM = ("MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1)


def rpn_config(*opts, enabled=True):
    opts = ("MODEL.META_ARCHITECTURE", "ProposalNetwork", *opts)
    return rcnn_config(STANDARD, *opts, enabled=enabled)


def parts_of(model, data):
    """The part that matches, its anchors, and what it says of each image's anchors."""
    part = model.proposal_generator if hasattr(model, "proposal_generator") else model
    features = model.backbone(torch.stack([x["image"] for x in data]))
    names = part.in_features if part is not model else part.head_in_features
    anchors = part.anchor_generator([features[f] for f in names])
    label = part.label_and_sample_anchors if part is not model else part.label_anchors
    with EventStorage():
        return part, anchors, label(anchors, [x["instances"] for x in data])


@pytest.mark.parametrize("config", [retinanet_config, rpn_config])
def test_matches_equal_the_oracle_and_weights_follow_them(config):
    opts = [*ATSS]
    if config is rpn_config:  # all positives are sampled
        opts += ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 10**5, "MODEL.RPN.POSITIVE_FRACTION", 1.0]
    data = batch()
    part, anchors, (labels, matched) = parts_of(build_model(config(*opts)), data)
    per_cell = part.anchor_generator.num_cell_anchors[0]
    boxes = data[0]["instances"].gt_boxes.tensor.tolist()
    idxs, expected = oracle.match_atss(boxes, [x.tensor.tolist() for x in anchors], 4, per_cell)
    background = 5 if config is retinanet_config else 0
    assert (labels[0] != background).tolist() == [label == 1 for label in expected]
    assert (labels[1] == background).all()
    assert matched[0].match_counts.tolist() == oracle.count_matches(idxs, expected, 4)
    weights = torch.tensor(oracle.weigh_anchors(idxs, expected, 4))
    torch.testing.assert_close(matched[0].weights, weights, rtol=2e-6, atol=0)


@pytest.mark.parametrize("config", [retinanet_config, rpn_config])
def test_without_the_loss_it_is_the_unweighted_detector(config):
    """The weight of 1 gives the step of ATSS alone, whose losses are Detectron2's own."""
    off, uniform = pair(config(*ATSS, enabled=False), config(*ATSS, *UNIFORM))
    part = getattr(off, "proposal_generator", off)
    assert isinstance(part, ScaleBalancedRetinaNet | ScaleBalancedRPN)
    assert part.object_weight is None and isinstance(part.anchor_matcher, ATSSMatcher)
    for data in (batch(), [image([]), image([])]):
        assert_same_training(uniform, off, data, rtol=2e-6)
    _, _, (_, boxes) = parts_of(off, batch())
    assert all(type(x) is torch.Tensor for x in boxes)
    _, _, scalars = train_step(off, batch())
    assert not [name for name in scalars if name.startswith("scb/")]


def test_the_default_is_detectron2s(monkeypatch):
    assert type(build_model(retinanet_config(enabled=False))) is RetinaNet
    assert type(build_model(rpn_config(enabled=False)).proposal_generator) is RPN


def test_lazy_construction_takes_the_matcher():
    parts = ScaleBalancedRetinaNet.from_config(retinanet_config(enabled=False))
    parts["anchor_matcher"] = ATSSMatcher(4, 9)
    ours = ScaleBalancedRetinaNet(**parts)
    from_config = build_model(retinanet_config(*ATSS, enabled=False))
    ours.load_state_dict(from_config.state_dict())
    assert_same_training(ours, from_config, batch(), rtol=2e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: retinanet_config("MODEL.ANCHOR_MATCHER.NAME", "mean"),
            "MODEL.ANCHOR_MATCHER.NAME must be one of iou, atss; got 'mean'",
        ),
        (
            lambda: retinanet_config("MODEL.ANCHOR_MATCHER.NUM_CANDIDATES", 0),
            "MODEL.ANCHOR_MATCHER.NUM_CANDIDATES must be a whole number above 0; got 0",
        ),
        (
            lambda: retinanet_config(*ATSS, "MODEL.SCB.LOW_QUALITY", "reassign"),
            "MODEL.SCB.LOW_QUALITY 'reassign' does not go with MODEL.ANCHOR_MATCHER.NAME 'atss'",
        ),
        (
            lambda: project_config("SSD", "ssd_toy.yaml", *ATSS),
            "MODEL.ANCHOR_MATCHER.NAME is 'atss', but MODEL.META_ARCHITECTURE 'SSD' matches no",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build_model(build())


def test_an_object_that_overlaps_nothing_has_no_match_and_frees_the_others():
    outside = [-5000.0, -5000, -4990, -4990]
    data = [image([[20, 25, 90, 80], outside])]
    _, _, ((labels,), (matched,)) = parts_of(build_model(retinanet_config(*ATSS)), data)
    assert matched.match_counts.tolist()[1] == 0 < matched.match_counts.tolist()[0]
    assert (labels != 5).sum() == matched.match_counts[0]
