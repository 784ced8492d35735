import math

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.export.torchscript_patch import freeze_training_mode, patch_instances
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNOutputLayers,
    Res5ROIHeads,
    StandardROIHeads,
)
from detectron2.structures import (
    BitMasks,
    Boxes,
    ImageList,
    Instances,
    Keypoints,
    pairwise_iou,
)
from detectron2.utils.events import EventStorage
from detectron2.utils.testing import assert_instances_allclose

from scb_d2 import (
    ConfigError,
    ScaleBalancedCascadeROIHeads,
    ScaleBalancedRes5ROIHeads,
    ScaleBalancedStandardROIHeads,
    ScaleBalancedWeight,
    build_model,
)

from .. import oracle
from .detectors import assert_same_training, batch, image, pair, train_step
from .rcnn import (
    BOX_LOSSES,
    CASCADE,
    FEATURES,
    KINDS,
    RES5,
    STANDARD,
    feature_shapes,
    rcnn_config,
)

OURS = {
    STANDARD: ScaleBalancedStandardROIHeads,
    RES5: ScaleBalancedRes5ROIHeads,
    CASCADE: ScaleBalancedCascadeROIHeads,
}
STOCK = {STANDARD: StandardROIHeads, RES5: Res5ROIHeads, CASCADE: CascadeROIHeads}
SECOND = ("MODEL.SCB.STAGES", ("second",))
OBJECTS = [[10, 10, 22, 21], [20, 25, 90, 80], [20, 25, 90, 80], [50, 5, 80, 30]]


def config(kind, *opts):
    return rcnn_config(kind, *SECOND, *opts)


def stock_config(kind, *opts):
    return rcnn_config(kind, *opts, enabled=False)


def off_config(kind, *opts):
    return stock_config(kind, "MODEL.ROI_HEADS.NAME", OURS[kind].__name__, *opts)


def targets(boxes):
    return image(boxes)["instances"]


def proposals(boxes):
    instances = Instances((96, 96))
    instances.proposal_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.objectness_logits = torch.zeros(len(boxes))
    return instances


def shifted(box, shifts):
    """The box moved sideways: overlaps of all sizes."""
    return [[box[0] + s, box[1], box[2] + s, box[3]] for s in shifts]


PROPOSALS = [
    *shifted(OBJECTS[0], [-9, -3, -1, 0, 2]),
    *shifted(OBJECTS[1], range(-25, 20, 3)),
    *shifted(OBJECTS[3], [1, 2, 3, 14]),
    [0, 60, 15, 90],
]


def sample(heads, proposals_of_images, targets_of_images):
    torch.manual_seed(2)
    with EventStorage() as storage:
        sampled = heads.label_and_sample_proposals(proposals_of_images, targets_of_images)
        return sampled, {k: v for k, (v, _) in storage.latest().items()}


def build_heads(*opts, kind=STANDARD):
    return OURS[kind](config(kind, *opts), feature_shapes())


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


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("agnostic", [True, False])
def test_box_losses_equal_stock(box_loss, agnostic):
    opts = [
        *("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", box_loss),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", agnostic),
    ]
    scb = ["MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1]
    ours, stock = pair(config(STANDARD, *scb, *opts), stock_config(STANDARD, *opts))
    assert_same_training(ours, stock, batch(), rtol=1e-6)


@pytest.mark.parametrize("federated", [True, False])
def test_sigmoid_and_federated_losses_equal_stock(federated, federated_dataset):
    opts = [
        *("MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True),
        *("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", federated),
        *("MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES", 4),
        *federated_dataset,
    ]
    scb = ["MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1]
    ours, stock = pair(config(STANDARD, *scb, *opts), stock_config(STANDARD, *opts))
    assert_same_training(ours, stock, batch(), rtol=1e-6)
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


def matched_by_oracle(boxes, objects, threshold=0.5):
    quality = pairwise_iou(Boxes(torch.tensor(objects).float()), Boxes(torch.tensor(boxes).float()))
    return oracle.match(quality.tolist(), [threshold], [0, 1])


@pytest.mark.parametrize("append_gt", [True, False])
def test_weights_count_all_matched_proposals(append_gt):
    heads = build_heads(
        *("MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", append_gt),
        *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 12),
    )
    (sampled,), scalars = sample(heads, [proposals(PROPOSALS)], [targets(OBJECTS)])
    boxes = PROPOSALS + OBJECTS if append_gt else PROPOSALS
    idxs, labels = matched_by_oracle(boxes, OBJECTS)
    counts = oracle.count_matches(idxs, labels, 4)
    assert counts[2] == 0 < counts[0] and sum(counts) > 3 == (sampled.gt_classes < 5).sum()
    # Of equal boxes the match is the same, so boxes tell sampled proposals apart well enough.
    weight_of = dict(zip(map(tuple, boxes), oracle.weigh_anchors(idxs, labels, 4), strict=True))
    for box, weight in zip(
        sampled.proposal_boxes.tensor.tolist(), sampled.scb_weights.tolist(), strict=True
    ):
        assert weight == pytest.approx(weight_of[tuple(box)], rel=1e-6)
    assert scalars["scb/second/num_objects"] == 4
    assert scalars["scb/second/unmatched"] == counts.count(0)
    # All weights of an object, sampled or not, sum to what it has to say.
    all_weights = oracle.weigh_anchors(idxs, labels, 4)
    for index, count in enumerate(counts):
        own = [
            w for w, i, x in zip(all_weights, idxs, labels, strict=True) if i == index and x == 1
        ]
        assert sum(own) == pytest.approx(3 * (math.log(count) + 1) if count else 0)


def test_weights_count_sampled_proposals():
    heads = build_heads("MODEL.SCB.COUNT", "sampled", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 24)
    (sampled, empty), scalars = sample(
        heads, [proposals(PROPOSALS), proposals(PROPOSALS)], [targets(OBJECTS), targets([])]
    )
    foreground = sampled.gt_classes < 5
    assert foreground.sum() == 6 < sum(matched_by_oracle(PROPOSALS, OBJECTS)[1])
    counts = [(foreground & (sampled.gt_classes == i)).sum().item() for i in range(4)]
    for index, count in enumerate(counts):  # the class is the object's index
        total = sampled.scb_weights[foreground & (sampled.gt_classes == index)].sum().item()
        assert total == pytest.approx(3 * (math.log(count) + 1) if count else 0, rel=1e-6)
    assert (sampled.scb_weights[~foreground] == 1).all() and (empty.scb_weights == 1).all()
    assert scalars["scb/second/unmatched"] == counts.count(0)
    assert not sampled.has("gt_object_ids")


def test_more_objects_than_sampled_proposals():
    boxes = [[8 * i, 8 * j, 8 * i + 8, 8 * j + 8] for i in range(4) for j in range(4)]
    for count in ("matched", "sampled"):
        heads = build_heads("MODEL.SCB.COUNT", count, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8)
        (sampled,), scalars = sample(heads, [proposals(PROPOSALS)], [targets(boxes)])
        assert (sampled.gt_classes < 5).sum() == 2
        assert scalars["scb/second/num_objects"] == 16
        assert scalars["scb/second/unmatched"] == {"matched": 0, "sampled": 14}[count]


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


def test_cascade_counts_each_stage_by_itself():
    heads = build_heads(kind=CASCADE)
    objects = [targets(OBJECTS), targets([])]
    for stage, threshold in ((1, 0.6), (2, 0.7)):
        with EventStorage() as storage:
            given = [proposals(PROPOSALS), proposals(PROPOSALS)]
            labelled, empty = heads._match_and_label_boxes(given, stage, objects)
            scalars = {k: v for k, (v, _) in storage.latest().items()}
        idxs, labels = matched_by_oracle(PROPOSALS, OBJECTS, threshold)
        expected = torch.tensor(oracle.weigh_anchors(idxs, labels, 4))
        torch.testing.assert_close(labelled.scb_weights, expected, rtol=2e-6, atol=0)
        assert (empty.scb_weights == 1).all()
        counts = oracle.count_matches(idxs, labels, 4)
        assert scalars[f"scb/second_stage{stage}/unmatched"] == counts.count(0)


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [STANDARD, CASCADE])
def test_autocast_keeps_weights_in_float32(kind, dtype):
    model = build_model(rcnn_config(kind, "MODEL.SCB.STAGES", ("first", "second")))
    data = [image([[5, 5, 25, 29]], size=32), image([], size=32)]
    with torch.autocast("cpu", dtype=dtype):
        losses, gradients, _ = train_step(model, data)
    assert all(x.dtype == torch.float32 and torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients.values())


def test_plain_python_construction_needs_a_weighting_box_predictor():
    parts = StandardROIHeads.from_config(stock_config(STANDARD), feature_shapes())
    with pytest.raises(ConfigError, match="ScaleBalancedFastRCNNOutputLayers as box predictor"):
        ScaleBalancedStandardROIHeads(**parts, object_weight=ScaleBalancedWeight())
    assert type(ScaleBalancedStandardROIHeads(**parts).box_predictor) is FastRCNNOutputLayers
    with pytest.raises(ConfigError, match="match_count must be one of matched, sampled"):
        ScaleBalancedStandardROIHeads(**parts, match_count="all")


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
