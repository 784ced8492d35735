"""No training step waits for the device more often with the loss on than off.

Counted without a GPU, by the operations that would wait on one.
"""

import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage

from benchmarks.waits import count_waits, host_reads
from scb_d2 import MatchStatistics, ScaleBalancedMatcher, ScaleBalancedWeight, match_boxes
from tests.projects.builders import project_config
from tests.projects.common import scene

from .detectors import batch, fcos, pair, retinanet_config
from .rcnn import CASCADE, RES5, STANDARD, rcnn_config

NEVER = ("MODEL.SCB.LOG_PERIOD", 10**9)
STAGES = ("first", "second", *(f"second_stage{k}" for k in range(3)), "arm", "odm")
BOTH = ("MODEL.SCB.STAGES", ("first", "second"))


def ssd_config(*opts, enabled=True):
    return project_config("SSD", "ssd_toy.yaml", "MODEL.SCB.ENABLED", enabled, *opts)


def refinedet_config(*opts, enabled=True):
    return project_config("RefineDet", "refinedet_toy.yaml", "MODEL.SCB.ENABLED", enabled, *opts)


CONFIGS = {
    "RetinaNet": (retinanet_config, []),
    "RetinaNet, reassign": (retinanet_config, ["MODEL.SCB.LOW_QUALITY", "reassign"]),
    "RetinaNet, mean_one": (retinanet_config, ["MODEL.SCB.NORMALIZER", "mean_one"]),
    "RPN": (lambda *opts, **on: rcnn_config(STANDARD, *opts, **on), []),
    "RPN, sampled": (
        lambda *opts, **on: rcnn_config(STANDARD, *opts, **on),
        ["MODEL.SCB.COUNT", "sampled"],
    ),
    "ROI heads": (lambda *opts, **on: rcnn_config(STANDARD, *opts, **on), BOTH),
    "ROI heads, sampled": (
        lambda *opts, **on: rcnn_config(STANDARD, *opts, **on),
        [*BOTH, "MODEL.SCB.COUNT", "sampled"],
    ),
    "C4 ROI heads": (lambda *opts, **on: rcnn_config(RES5, *opts, **on), BOTH),
    "cascade": (lambda *opts, **on: rcnn_config(CASCADE, *opts, **on), BOTH),
    "SSD": (ssd_config, []),
    "RefineDet": (refinedet_config, BOTH),
}


def waits_of(model, data, logs=False):
    """Operations of a training step on which a GPU would wait, by name."""
    torch.manual_seed(1)
    model.train()
    with EventStorage() as storage:
        if not logs:  # as a run's first iteration does
            for stage in STAGES:
                storage.put_scalar(f"scb/{stage}/num_objects", 0)
            storage.iter = 1
        with host_reads() as found:
            sum(model(data).values()).backward()
    return found


@pytest.mark.parametrize("name", ["FCOS", *CONFIGS])
def test_a_step_waits_no_more_often_than_stock(name):
    if name == "FCOS":
        ours, stock = fcos(statistics=MatchStatistics(period=10**9)), fcos(False)
    else:
        build, opts = CONFIGS[name]
        ours, stock = pair(build(*NEVER, *opts), build(enabled=False))
    data = scene() if name == "SSD" else batch()
    ours_waits, stock_waits = waits_of(ours, data), waits_of(stock, data)
    assert ours_waits.total() <= stock_waits.total(), (ours_waits, stock_waits)
    if name == "RetinaNet":
        assert ours_waits["nonzero"] == 1 and ours_waits["mask as index"] == 0
        # The statistics read values: the count sees that the step of their period waits.
        assert waits_of(ours, data, logs=True).total() > ours_waits.total()


@pytest.mark.parametrize("rule", ["stock", "reassign"])
@pytest.mark.parametrize("num_objects", [0, 3])
def test_labels_and_weights_wait_for_nothing(rule, num_objects):
    corner = torch.rand(50, 2) * 50
    anchors = Boxes(torch.cat([corner, corner + 20], dim=1))
    gt_boxes = anchors[:num_objects]
    matcher = ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1], True, rule, matching="table")
    object_weight = ScaleBalancedWeight()  # tries its form, once
    with host_reads() as found:
        matched_idxs, anchor_labels = match_boxes(gt_boxes, anchors, matcher)
        object_weight(matched_idxs, anchor_labels, gt_boxes)
        match_boxes(gt_boxes, anchors, Matcher([0.5], [0, 1], True))
    assert not found


@pytest.mark.parametrize(
    ("waits", "function"),
    [
        (1, lambda x: x.sum().item()),
        (1, lambda x: bool((x > 0).any())),
        (1, lambda x: x.nonzero()),
        (1, lambda x: torch.where(x > 0)),
        (1, lambda x: x[x > 0]),
        (1, lambda x: x.masked_select(x > 0)),
        (1, lambda x: x.abs().long().bincount()),
        (1, lambda x: x.unique()),
        (1, lambda x: x.tolist()),
        (1, lambda x: x.numpy()),
        (1, lambda x: x.__setitem__(x > 0, torch.ones(2))),
        (0, lambda x: x.__setitem__(x > 0, 1)),
        (0, lambda x: x.masked_fill(x > 0, 1)),
        (0, lambda x: x[torch.tensor([0, 1])]),
        (0, lambda x: torch.where(x > 0, x, 0).sum()),
    ],
)
def test_what_counts_as_waiting(waits, function):
    x = torch.tensor([1.0, -1.0, 2.0])
    assert count_waits(lambda: function(x), "cpu") == waits


def test_waits_on_cuda_are_those_that_pytorch_warns_of(monkeypatch):
    import warnings

    modes = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def step():
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert count_waits(step, "cuda") == 2
    assert modes == ["warn", 0]
