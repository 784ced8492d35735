"""What scale-balanced ROI heads do exactly as Detectron2's own."""

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.export.torchscript_patch import freeze_training_mode, patch_instances
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import BitMasks, Boxes, ImageList, Keypoints
from detectron2.utils.testing import assert_instances_allclose

from scb_d2 import ScaleBalancedStandardROIHeads, build_model

from .detectors import assert_same_training, batch, image, pair, train_step
from .rcnn import BOX_LOSSES, FEATURES, KINDS, RES5, STANDARD, feature_shapes
from .roi_heads import (
    OBJECTS,
    OURS,
    PROPOSALS,
    build_heads,
    config,
    off_config,
    proposals,
    sample,
    stock_config,
    targets,
)


@pytest.mark.parametrize("kind", KINDS)
def test_without_object_weight_equals_stock_bit_for_bit(kind):
    ours, stock = pair(off_config(kind), stock_config(kind))
    assert type(ours.roi_heads) is OURS[kind]
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalizer", ["stock", "mean_one"])
def test_uniform_weight_of_one_equals_stock(kind, normalizer):
    loss_weights = ["MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT", 2.5]
    scb = ["MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1, "MODEL.SCB.NORMALIZER", normalizer]
    ours, stock = pair(config(kind, *scb, *loss_weights), stock_config(kind, *loss_weights))
    for data in (batch(), [image([])]):
        assert_same_training(ours, stock, data, rtol=1e-6)


@pytest.fixture
def federated_dataset():
    MetadataCatalog.get("federated").class_image_count = [
        {"id": i + 1, "image_count": 10 * (i + 1)} for i in range(5)
    ]
    yield ("DATASETS.TRAIN", ("federated",))
    MetadataCatalog.remove("federated")


def assert_uniform_equals_stock(opts):
    scb = ["MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1]
    ours, stock = pair(config(STANDARD, *scb, *opts), stock_config(STANDARD, *opts))
    assert_same_training(ours, stock, batch(), rtol=1e-6)
    return stock


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("agnostic", [True, False])
def test_box_losses_equal_stock(box_loss, agnostic):
    opts = [
        *("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", box_loss),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", agnostic),
    ]
    assert_uniform_equals_stock(opts)


@pytest.mark.parametrize("federated", [True, False])
def test_sigmoid_and_federated_losses_equal_stock(federated, federated_dataset):
    opts = [
        *("MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True),
        *("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", federated),
        *("MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES", 4),
        *federated_dataset,
    ]
    stock = assert_uniform_equals_stock(opts)
    weighted = build_model(config(STANDARD, *opts))
    weighted.load_state_dict(stock.state_dict())
    data = batch()
    assert train_step(weighted, data)[0]["loss_cls"] != train_step(stock, data)[0]["loss_cls"]


@pytest.mark.parametrize("append_gt", [True, False])
@pytest.mark.parametrize("count", ["matched", "sampled"])
def test_samples_the_same_proposals_as_stock(append_gt, count):
    opts = ["MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", append_gt]
    ours = build_heads("MODEL.SCB.COUNT", count, *opts)
    stock = StandardROIHeads(stock_config(STANDARD, *opts), feature_shapes())
    given = [proposals(PROPOSALS), proposals(PROPOSALS)], [targets(OBJECTS), targets([])]
    actual, _ = sample(ours, *given)
    expected, _ = sample(stock, *given)
    for a, b in zip(actual, expected, strict=True):
        assert a.has("scb_weights") and a.scb_weights.dtype == torch.float32
        a.remove("scb_weights")
        assert a.get_fields().keys() == b.get_fields().keys()
        assert_instances_allclose(a, b, rtol=0)
    for instances in (*given[0], *given[1]):
        assert not any("scb" in name or "ids" in name for name in instances.get_fields())


def with_masks_and_keypoints(data):
    for x in data:
        instances = x["instances"]
        masks = torch.zeros(len(instances), 96, 96, dtype=torch.bool)
        keypoints = torch.zeros(len(instances), 17, 3)
        for i, (x0, y0, x1, y1) in enumerate(instances.gt_boxes.tensor.int().tolist()):
            masks[i, y0:y1, x0:x1] = True
            keypoints[i] = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, 2])
        instances.gt_masks = BitMasks(masks)
        instances.gt_keypoints = Keypoints(keypoints)
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_mask_and_keypoint_losses_stay(kind):
    opts = [
        *("MODEL.MASK_ON", True),
        *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
        *("MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
        *("MODEL.KEYPOINT_ON", kind != RES5),
        *("MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (8,)),
        *("INPUT.MASK_FORMAT", "bitmask"),
    ]
    ours, stock = pair(config(kind, *opts), stock_config(kind, *opts))
    data = with_masks_and_keypoints(batch()[:1])
    losses, expected = train_step(ours, data)[0], train_step(stock, data)[0]
    assert losses.keys() == expected.keys() and "loss_mask" in losses
    for name in losses:
        same = torch.equal(losses[name], expected[name])
        assert same == ("rpn" in name or "mask" in name or "keypoint" in name), name


@pytest.mark.parametrize("kind", KINDS)
def test_inference_equals_stock(kind):
    ours, stock = pair(config(kind), stock_config(kind))
    data = batch()
    with torch.no_grad():
        for a, b in zip(ours.eval()(data), stock.eval()(data), strict=True):
            assert_instances_allclose(a["instances"], b["instances"], rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_scripts_to_the_same_detections(weighted):
    cfg = config(STANDARD) if weighted else off_config(STANDARD)
    heads = ScaleBalancedStandardROIHeads(cfg, feature_shapes()).eval()
    features = {name: torch.randn(1, 16, 96 // s, 96 // s) for name, s in FEATURES.items()}
    fields = {
        "objectness_logits": torch.Tensor,
        "proposal_boxes": Boxes,
        "pred_boxes": Boxes,
        "scores": torch.Tensor,
        "pred_classes": torch.Tensor,
        "pred_masks": torch.Tensor,
        "pred_keypoints": torch.Tensor,
        "pred_keypoint_heatmaps": torch.Tensor,
    }
    images, given = ImageList(torch.zeros(1, 3, 96, 96), [(96, 96)]), proposals(PROPOSALS)
    (expected,), _ = heads(images, features, [given])
    with freeze_training_mode(heads), patch_instances(fields) as new_instances:
        scripted = torch.jit.script(heads)
        (actual,), _ = scripted(images, features, [new_instances.from_instances(given)])
    assert len(expected) > 0
    assert_instances_allclose(expected, actual, rtol=0)
