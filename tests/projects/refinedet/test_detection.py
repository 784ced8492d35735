"""Two-step decoding, learning on real images, and one step at full size."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, ImageList, pairwise_iou
from detectron2.utils.events import EventStorage
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from scb_d2 import build_model
from tests.projects.builders import objects, training_input

from .builders import MAP_SIZES, NUM_ANCHORS, as_levels, refinedet_config, toy_refinedet

CELL = 3 * (5 * 20 + 7)
"""The square anchor of row 5, column 7 of the finest map: side 16 around (60, 44)."""


def _detect(model, arm_logits, arm_deltas, odm_logits, odm_deltas):
    images = ImageList(torch.zeros(1, 3, 160, 160), [(160, 160)])
    features = [torch.zeros(1, 1, s, s) for s in MAP_SIZES]
    predictions = [as_levels(x) for x in (arm_logits, arm_deltas, odm_logits, odm_deltas)]
    (result,) = model.eval().forward_inference(images, features, predictions)
    return result


def _one_detection() -> list[torch.Tensor]:
    """Predictions in which only the anchor CELL is of a class, class 2."""
    odm_logits = torch.zeros(1, NUM_ANCHORS, 5)
    odm_logits[..., 4] = 20.0
    odm_logits[0, CELL] = torch.tensor([0.0, 0.0, 20.0, 0.0, 0.0])
    deltas = torch.zeros(1, NUM_ANCHORS, 4)
    return [torch.zeros(1, NUM_ANCHORS, 2), deltas, odm_logits, deltas.clone()]


def test_boxes_are_decoded_in_two_steps() -> None:
    """Anchor (52, 36, 68, 52); ARM: 5 / 10 widths right = 8 px, twice as wide -> centre (68, 44),
    32 x 16; ODM: 5 / 10 of these 32 px right, half as high -> centre (84, 44), 32 x 8.
    """
    predictions = _one_detection()
    log2 = torch.tensor(2.0).log()
    predictions[1][0, CELL] = torch.stack([torch.tensor(5.0), log2 * 0, 5 * log2, log2 * 0])
    predictions[3][0, CELL] = torch.stack([torch.tensor(5.0), log2 * 0, log2 * 0, -5 * log2])
    result = _detect(toy_refinedet(), *predictions)
    assert result.pred_classes.tolist() == [2]
    assert result.pred_boxes.tensor[0].tolist() == pytest.approx([68, 40, 100, 48], abs=1e-3)
    assert result.scores[0].item() == pytest.approx(1.0, abs=1e-5)


def test_negative_anchors_are_not_detected() -> None:
    predictions = _one_detection()
    predictions[0][0, CELL] = torch.tensor([0.0, 5.0])
    assert len(_detect(toy_refinedet(), *predictions)) == 0
    unfiltered = toy_refinedet("MODEL.REFINEDET.NEGATIVE_THRESH", 1.0)
    assert len(_detect(unfiltered, *predictions)) == 1


def test_detections_are_in_pixels_of_the_original_image() -> None:
    model = toy_refinedet("MODEL.SSD.SCORE_THRESH_TEST", 0.0).eval()
    image = torch.randint(0, 256, (3, 80, 240), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image, "height": 80, "width": 240}])
    boxes = output["instances"].pred_boxes.tensor
    assert output["instances"].image_size == (80, 240)
    assert 0 < len(boxes) <= 500
    assert (boxes >= 0).all() and (boxes <= torch.tensor([240, 80, 240, 80])).all()


def _real_images(folder: Path, size: int = 160) -> list[dict]:
    """Four photographs of COCO with the most visible objects, warped, as classes 0 to 3."""
    annotations = json.loads((folder / "annotations" / "instances_train2017.json").read_text())
    batch = []
    for record in sorted(annotations["images"], key=lambda x: x["id"]):
        scale = torch.tensor([size / record["width"], size / record["height"]]).repeat(2)
        found = [
            x
            for x in annotations["annotations"]
            if x["image_id"] == record["id"] and not x["iscrowd"]
        ]
        boxes = torch.tensor([x["bbox"] for x in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes * scale
        large = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > 20
        if not 1 <= large.sum() == len(boxes) <= 4:
            continue
        image = Image.open(folder / "train2017" / record["file_name"]).convert("RGB")
        classes = [x["category_id"] % 4 for x in found]
        batch.append(
            {
                "image": pil_to_tensor(image.resize((size, size))),
                "instances": objects(boxes, classes, size),
            }
        )
        if len(batch) == 4:
            return batch
    raise AssertionError("too few photographs with large objects only")


@pytest.mark.parametrize("stages", [(), ("first",)], ids=["off", "arm"])
def test_a_few_real_images_are_learnt(shared_data: Path, stages: tuple[str, ...]) -> None:
    scb = ("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", stages) if stages else ()
    model = toy_refinedet(*scb)
    batch = _real_images(shared_data / "tiny_coco" / "coco")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    totals = []
    with EventStorage():
        for _ in range(150):
            loss = sum(model(batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            totals.append(loss.item())
    assert sum(totals[-5:]) < 0.3 * sum(totals[:5])
    model.eval()
    with torch.no_grad():
        outputs = model([{"image": x["image"]} for x in batch])
    found = total = 0
    for inputs, output in zip(batch, outputs, strict=True):
        gt, result = inputs["instances"], output["instances"]
        result = result[result.scores > 0.5]
        hits = pairwise_iou(gt.gt_boxes, Boxes(result.pred_boxes.tensor)) >= 0.5
        hits &= gt.gt_classes[:, None] == result.pred_classes
        found += hits.any(dim=1).sum().item()
        total += len(gt)
    assert found >= 0.8 * total


def test_one_training_step_at_full_size() -> None:
    model = build_model(refinedet_config("refinedet320_voc_scb_both.yaml"))
    batch = [training_input([(40, 40, 60, 60), (100, 100, 300, 280)], [3, 19], size=320)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    before = model.head.odm.cls_score[0].weight.detach().clone()
    with EventStorage() as storage:
        losses = model(batch)
        sum(losses.values()).backward()
        optimizer.step()
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    assert not torch.equal(model.head.odm.cls_score[0].weight, before)
    assert storage.latest()["scb/arm/num_objects"][0] == 2
    assert storage.latest()["scb/odm/num_objects"][0] == 2
