"""Against torchvision's SSD300 with the same, random weights."""

import pytest
import torch
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from torchvision.models.detection import ssd300_vgg16

from scb_d2 import build_model
from scb_d2.projects.ssd import SSD
from tests.projects.builders import objects

from .builders import GT_BOXES, build_ssd, ssd_config

MEAN = torch.tensor([123.0, 117.0, 104.0]).view(3, 1, 1)


@pytest.fixture(scope="module")
def pair() -> tuple[SSD, torch.nn.Module]:
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if name.endswith("bias"):
                value.normal_(std=0.1)
    cfg = ssd_config("ssd300_coco.yaml", "MODEL.SSD.NUM_CLASSES", 90)
    ours = build_model(cfg)
    incompatible = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not incompatible.missing_keys and not incompatible.unexpected_keys
    return ours.eval(), theirs.eval()


@pytest.fixture(scope="module")
def outputs(pair: tuple[SSD, torch.nn.Module]) -> dict[str, torch.Tensor]:
    ours, theirs = pair
    torch.manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 300, 300)).float()
    with torch.no_grad():
        pixels = ours.preprocess_image([{"image": x} for x in images]).tensor
        features = ours.backbone(pixels)
        features = [features[name] for name in ours.head_in_features]
        logits, deltas = ours._flat_predictions(ours.head(features))
        head = theirs.head(list(theirs.backbone(images - MEAN).values()))
    return {
        "anchors": Boxes.cat(ours.anchor_generator(features)).tensor,
        "logits": logits,
        "deltas": deltas,
        "tv_logits": head["cls_logits"],
        "tv_deltas": head["bbox_regression"],
    }


def test_logits_and_deltas(outputs: dict[str, torch.Tensor]) -> None:
    background_last = outputs["tv_logits"].roll(-1, dims=-1)
    assert background_last.abs().max() > 1
    assert (outputs["logits"] - background_last).abs().max() < 1e-4
    assert (outputs["deltas"] - outputs["tv_deltas"]).abs().max() < 1e-4


def test_loss_for_the_same_matches(
    pair: tuple[SSD, torch.nn.Module], outputs: dict[str, torch.Tensor]
) -> None:
    ours, theirs = pair
    images = [objects(GT_BOXES, [0, 4, 89, 7], 300), objects(GT_BOXES[1:2], [3], 300)]
    anchors = Boxes(outputs["anchors"])
    labels, matched = ours.multibox_loss.label_anchors(anchors, images, ours.anchor_matcher)
    with EventStorage(0):
        losses = ours.multibox_loss(
            anchors.tensor, outputs["logits"], labels, outputs["deltas"], matched
        )
    matched_idxs = []
    for image, per_anchor in zip(images, labels, strict=True):
        idxs = torch.full_like(per_anchor, -1)
        for index, label in enumerate(image.gt_classes):
            idxs[per_anchor == label] = index
        matched_idxs.append(idxs)
    expected = theirs.compute_loss(
        [{"boxes": x.gt_boxes.tensor, "labels": x.gt_classes + 1} for x in images],
        {"cls_logits": outputs["tv_logits"], "bbox_regression": outputs["tv_deltas"]},
        [anchors.tensor] * 2,
        matched_idxs,
    )
    assert losses["loss_cls"].item() == pytest.approx(expected["classification"].item(), rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(
        expected["bbox_regression"].item(), rel=1e-5
    )


def test_detections(pair: tuple[SSD, torch.nn.Module], outputs: dict[str, torch.Tensor]) -> None:
    """Same classes, scores and boxes where torchvision's clipping before NMS plays no part."""
    ours, theirs = pair
    inner = outputs["anchors"].clamp(60, 240)  # no box of these leaves the image
    logits, deltas = outputs["logits"] * 0.3, outputs["deltas"] * 0.05
    (result,) = [ours._detect(inner, logits[0].softmax(-1)[:, :-1], deltas[0], (300, 300))]
    (expected,) = theirs.postprocess_detections(
        {"cls_logits": logits[:1].roll(1, -1), "bbox_regression": deltas[:1]},
        [inner],
        [(300, 300)],
    )
    assert len(result) == len(expected["scores"]) == 200
    assert torch.allclose(result.scores, expected["scores"], atol=1e-6)
    assert torch.equal(result.pred_classes, expected["labels"] - 1)
    assert torch.allclose(result.pred_boxes.tensor, expected["boxes"], atol=1e-3)


def test_91_coco_outputs_become_80_classes() -> None:
    """Class 79 (toothbrush) is output 90, class 0 (person) output 1, background comes last."""
    torch.manual_seed(0)
    weights = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).state_dict()
    for level, anchors in enumerate([4, 6, 6, 6, 4, 4]):
        weights[f"head.classification_head.module_list.{level}.bias"] = torch.arange(91.0).repeat(
            anchors
        )
    model = build_ssd("ssd300_coco.yaml")
    model.load_state_dict(weights, strict=False)
    bias = model.head.cls_score[1].bias.view(6, 81)
    assert (bias == bias[0]).all()
    ids = bias[0].int().tolist()
    assert ids[0] == 1 and ids[79] == 90 and ids[80] == 0
    unused = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert set(range(91)) - set(ids) == unused
    assert ids[:80] == sorted(ids[:80])
