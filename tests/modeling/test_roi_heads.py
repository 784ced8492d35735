"""How scale-balanced ROI heads are built, what they log, and edge cases."""

import pytest
import torch
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from detectron2.utils.events import EventStorage

from scb_d2 import ConfigError, ScaleBalancedStandardROIHeads, ScaleBalancedWeight, build_model

from .detectors import batch, image, train_step
from .rcnn import CASCADE, KINDS, RES5, STANDARD, feature_shapes, rcnn_config
from .roi_heads import OBJECTS, OURS, STOCK, config, proposals, stock_config, targets


@pytest.mark.parametrize("kind", KINDS)
def test_second_stage_is_off_by_default(kind):
    cfg = rcnn_config(kind)
    model = build_model(cfg)
    assert type(model.roi_heads) is STOCK[kind]
    assert kind == cfg.MODEL.ROI_HEADS.NAME


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_swapped_and_parameters_stay(kind):
    torch.manual_seed(5)
    ours = build_model(config(kind))
    torch.manual_seed(5)
    stock = build_model(stock_config(kind))
    assert type(ours.roi_heads) is OURS[kind] and type(stock.roi_heads) is STOCK[kind]
    assert type(ours.proposal_generator) is type(stock.proposal_generator)
    assert ours.state_dict().keys() == stock.state_dict().keys()
    for name, value in stock.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_plain_python_construction_needs_a_weighting_box_predictor():
    parts = StandardROIHeads.from_config(stock_config(STANDARD), feature_shapes())
    with pytest.raises(ConfigError, match="ScaleBalancedFastRCNNOutputLayers as box predictor"):
        ScaleBalancedStandardROIHeads(**parts, object_weight=ScaleBalancedWeight())
    assert type(ScaleBalancedStandardROIHeads(**parts).box_predictor) is FastRCNNOutputLayers
    with pytest.raises(ConfigError, match="match_count must be one of matched, sampled"):
        ScaleBalancedStandardROIHeads(**parts, match_count="all")


@pytest.mark.parametrize("kind", [STANDARD, CASCADE])
def test_proposals_that_match_no_object(kind):
    model = build_model(config(kind, "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", False))
    with torch.no_grad():
        features = model.backbone(torch.randn(1, 3, 96, 96))
    far = [proposals([[0, 60, 15, 90], [0, 0, 5, 5]])]
    with EventStorage() as storage:
        _, losses = model.roi_heads.train()(None, features, far, [targets(OBJECTS)])
        sum(losses.values()).backward()
        names = storage.latest().keys()
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(value == 0 for name, value in losses.items() if "box_reg" in name)
    assert not any("mean_weight" in name for name in names)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", ["matched", "sampled"])
def test_images_without_objects(kind, count):
    model = build_model(config(kind, "MODEL.SCB.COUNT", count))
    losses, gradients, scalars = train_step(model, [image([]), image([])])
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(value == 0 for name, value in losses.items() if "box_reg" in name)
    box_gradients = [g for name, g in gradients.items() if "bbox_pred.weight" in name]
    assert box_gradients and all(g.abs().max() == 0 for g in box_gradients)
    prefix = "scb/second_stage0" if kind == CASCADE else "scb/second"
    assert scalars[f"{prefix}/num_objects"] == 0


def test_cascade_logs_each_stage_under_its_own_name():
    model = build_model(rcnn_config(CASCADE, "MODEL.SCB.STAGES", ("first", "second")))
    _, _, scalars = train_step(model, batch())
    ours = {name.split("/")[1] for name in scalars if "scb/" in name}
    assert all(name.startswith("scb/") for name in scalars if "scb/" in name)
    assert ours == {"first", "second_stage0", "second_stage1", "second_stage2"}
    assert "scb/second_stage0/mean_weight" in scalars


@pytest.mark.parametrize("kind", [STANDARD, RES5])
def test_statistics_are_logged(kind):
    _, _, scalars = train_step(build_model(config(kind)), batch())
    names = {"num_objects", "unmatched", "matches_p10", "matches_p50", "matches_p90", "mean_weight"}
    assert {f"scb/second/{name}" for name in names} <= scalars.keys()
    shares = [v for k, v in scalars.items() if "scb/second/loss_share" in k]
    assert sum(shares) == pytest.approx(1)
    assert not any(name.startswith("scb/first") for name in scalars)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [STANDARD, CASCADE])
def test_autocast_keeps_weights_in_float32(kind, dtype):
    model = build_model(rcnn_config(kind, "MODEL.SCB.STAGES", ("first", "second")))
    data = [image([[5, 5, 25, 29]], size=32), image([], size=32)]
    with torch.autocast("cpu", dtype=dtype):
        losses, gradients, _ = train_step(model, data)
    assert all(x.dtype == torch.float32 and torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients.values())
