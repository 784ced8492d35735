"""Scenes, a plain loss and training for the tests of detectors that are built on SSD."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.events import EventStorage
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from scb_d2.projects.ssd import SSD

from .builders import training_input


def scene(size: int = 160) -> list[dict[str, Any]]:
    """Three images: objects of three sizes, no object, and one object."""
    return [
        training_input([(10, 10, 40, 40), (60, 60, 130, 140), (100, 20, 112, 30)], [0, 1, 2], size),
        training_input([], size=size),
        training_input([(30, 70, 90, 120)], [3], size),
    ]


def losses_of(model: SSD, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
    with EventStorage():
        return model.train()(batch)


def plain_multibox_loss(model: SSD, batch: list[dict[str, Any]]) -> dict[str, float]:
    """Liu et al. 2016, section 2.2, anchor by anchor, from what the model's network predicts."""
    images = model.preprocess_image(batch).tensor
    with torch.no_grad():
        features = [model.backbone(images)[name] for name in model.head_in_features]
        levels = list(zip(*model.head(features), strict=True))
    anchors = Boxes.cat(model.anchor_generator(features)).tensor.double()
    num_classes = model.num_classes
    logits, deltas = (
        torch.cat(
            [x[which].permute(0, 2, 3, 1).reshape(len(batch), -1, depth).double() for x in levels],
            dim=1,
        )
        for which, depth in ((0, num_classes + 1), (1, 4))
    )
    cls_sum = box_sum = num_positives = 0.0
    for i, inputs in enumerate(batch):
        gt = inputs["instances"]
        owner = [-1] * len(anchors)
        if len(gt):
            ious = pairwise_iou(gt.gt_boxes, Boxes(anchors.float()))
            best, which = ious.max(dim=0)
            owner = [g if iou >= 0.5 else -1 for iou, g in zip(best, which.tolist(), strict=True)]
            for g, anchor in enumerate(ious.argmax(dim=1).tolist()):
                owner[anchor] = g
        background = []
        log_probs = logits[i].log_softmax(dim=1)
        for r, g in enumerate(owner):
            if g < 0:
                background.append(-log_probs[r, num_classes].item())
                continue
            num_positives += 1
            cls_sum -= log_probs[r, gt.gt_classes[g]].item()
            a, b = anchors[r], gt.gt_boxes.tensor[g].double()
            size_a, size_b = a[2:] - a[:2], b[2:] - b[:2]
            shift = (b[:2] + b[2:] - a[:2] - a[2:]) / 2 / size_a / 0.1
            target = torch.cat([shift, (size_b / size_a).log() / 0.2])
            box_sum += F.smooth_l1_loss(deltas[i, r], target, reduction="sum").item()
        mined = 3 * (len(owner) - len(background))
        cls_sum += sum(sorted(background, reverse=True)[:mined])
    return {"loss_cls": cls_sum / num_positives, "loss_box_reg": box_sum / num_positives}


def real_images(shared_data: Path, size: int, count: int = 4) -> list[dict[str, Any]]:
    """Photographs of COCO with one to four objects, all large, warped, as classes 0 to 3."""
    folder = shared_data / "tiny_coco" / "coco"
    annotations = json.loads((folder / "annotations" / "instances_train2017.json").read_text())
    batch = []
    for record in sorted(annotations["images"], key=lambda x: x["id"]):
        found = [x for x in annotations["annotations"] if x["image_id"] == record["id"]]
        boxes = torch.tensor([x["bbox"] for x in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes *= torch.tensor([size / record["width"], size / record["height"]]).repeat(2)
        if not 1 <= len(boxes) <= 4 or (boxes[:, 2:] - boxes[:, :2]).min() < 20:
            continue
        image = Image.open(folder / "train2017" / record["file_name"]).convert("RGB")
        inputs = training_input(boxes, [x["category_id"] % 4 for x in found], size)
        batch.append(inputs | {"image": pil_to_tensor(image.resize((size, size)))})
        if len(batch) == count:
            return batch
    raise AssertionError("too few photographs with large objects only")


def learn(model: SSD, batch: list[dict[str, Any]], iterations: int) -> list[float]:
    """Train on one batch, the last third at a tenth of the rate; the loss of each iteration."""
    optimizer = torch.optim.Adam([x for x in model.parameters() if x.requires_grad], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, iterations * 2 // 3)
    totals = []
    for _ in range(iterations):
        loss = sum(losses_of(model, batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        totals.append(loss.item())
    return totals


def share_found(model: SSD, batch: list[dict[str, Any]]) -> float:
    """Share of the objects with a detection of their class, score > 0.5 and IoU >= 0.5."""
    with torch.no_grad():
        outputs = model.eval()([{"image": x["image"]} for x in batch])
    found = total = 0
    for inputs, output in zip(batch, outputs, strict=True):
        gt, result = inputs["instances"], output["instances"]
        result = result[result.scores > 0.5]
        hits = pairwise_iou(gt.gt_boxes, result.pred_boxes) >= 0.5
        hits &= gt.gt_classes[:, None] == result.pred_classes
        found += hits.any(dim=1).sum().item()
        total += len(gt)
    return found / total


def tiny_run(*opts: str) -> list[str]:
    """Overrides for a training of few and small images on the CPU."""
    return [
        "MODEL.DEVICE", "cpu",
        "DATASETS.SYNTHETIC.ROOT", "shapes",
        "DATASETS.SYNTHETIC.IMAGE_SIZE", "64",
        "DATASETS.SYNTHETIC.TRAIN_IMAGES", "4",
        "DATASETS.SYNTHETIC.VAL_IMAGES", "2",
        "DATALOADER.NUM_WORKERS", "0",
        "SOLVER.IMS_PER_BATCH", "2",
        "SOLVER.MAX_ITER", "2",
        *opts,
    ]  # fmt: skip


def check_trained(run: Path) -> None:
    """What a run of :func:`tiny_run` on the shapes leaves."""
    metrics = [json.loads(x) for x in (run / "metrics.json").read_text().splitlines()]
    logged = {key for line in metrics for key in line}
    assert {"loss_cls", "loss_box_reg", "num_pos_anchors", "scb/first/matches_p50"} <= logged
    assert "AP50" in json.loads((run / "results.json").read_text())["shapes_val"]["bbox"]


class DetectorOnSSD:
    """Tests of a detector with SSD's loss; a subclass says how it is built.

    Attributes:
        size: of its square input.
        iterations: in which it learns four photographs.
    """

    size: int
    iterations: int

    def model(self, *opts: Any) -> SSD:
        """The detector with narrow layers."""
        raise NotImplementedError

    def learnable(self, *opts: Any) -> SSD:
        """The detector with layers wide enough to learn."""
        raise NotImplementedError

    def ready(self) -> SSD:
        """A narrow detector that detects something."""
        return self.model()

    def test_uniform_weights_of_one_are_off_and_scb_is_not(self) -> None:
        batch, results = scene(self.size), []
        for opts in (
            (),
            ("MODEL.SCB.ENABLED", True, "MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1),
            ("MODEL.SCB.ENABLED", True),
        ):
            torch.manual_seed(0)
            model = self.model(*opts)
            losses = losses_of(model, batch)
            sum(losses.values()).backward()
            results.append([*losses.values(), *(x.grad for x in model.parameters())])
        off, uniform, scb = results
        assert all(torch.equal(a, b) for a, b in zip(off, uniform, strict=True))
        assert not torch.allclose(off[0], scb[0]) and not torch.allclose(off[1], scb[1])
        assert all(x.isfinite().all() for x in scb)

    @pytest.mark.parametrize("size", [(97, 203), (33, 500)])
    def test_inference_at_any_size(self, size: tuple[int, int]) -> None:
        model = self.ready().eval()
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        with torch.no_grad():
            (output,) = model([{"image": image}])
        result = output["instances"]
        assert result.image_size == size and 0 < len(result) <= 200
        boxes = result.pred_boxes.tensor
        assert (boxes >= 0).all() and (boxes <= torch.tensor([*size[::-1]] * 2)).all()

    @pytest.mark.parametrize("scb", [False, True])
    def test_a_few_real_images_are_learnt(self, scb: bool, shared_data: Path) -> None:
        batch = real_images(shared_data, self.size, count=4)
        model = self.learnable("MODEL.SCB.ENABLED", scb)
        totals = learn(model, batch, self.iterations)
        assert sum(totals[-5:]) < 0.3 * sum(totals[:5])
        assert share_found(model, batch) >= 0.8
