"""Boxes, masks and keypoints by every implementation: the numbers of Detectron2's own evaluator."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.structures import Boxes, Instances
from torch import nn

from scb_d2 import DataError
from scb_d2.data.registration import register_coco
from scb_d2.engine.config.load import load_config
from scb_d2.engine.main import main
from scb_d2.engine.training.trainer import Trainer
from scb_d2.evaluation.coco_backend import COCO_BACKENDS
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator

SIZE, IMAGES = 80, 4
CONFIG = "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml"
OPTIONS = [
    *("MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.MASK_ON", "True"),
    *("MODEL.ROI_HEADS.NUM_CLASSES", "2", "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", "3"),
    *("TEST.KEYPOINT_OKS_SIGMAS", "[0.1, 0.2, 0.3]", "DATALOADER.NUM_WORKERS", "0"),
]


def _object(rng: np.random.Generator) -> dict[str, Any]:
    x, y, width, height = (float(v) for v in rng.integers([0, 0, 8, 8], [40, 40, 38, 38]))
    right, bottom = x + width, y + height
    keypoints = [[rng.uniform(x, right), rng.uniform(y, bottom), 2] for _ in range(3)]
    return {
        "bbox": [x, y, width, height],
        "area": width * height,
        "segmentation": [[x, y, right, y, right, bottom, x, bottom]],
        "keypoints": np.ravel(keypoints).tolist(),
        "num_keypoints": 3,
        "iscrowd": 0,
        "category_id": int(rng.choice([3, 7])),
    }


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and annotations of boxes, masks and three keypoints an object."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(1)
    images, annotations = [], []
    for image_id in range(IMAGES):
        cv2.imwrite(str(folder / f"{image_id}.png"), np.zeros((SIZE, SIZE, 3), np.uint8))
        size = {"height": SIZE, "width": SIZE}
        images.append({"id": image_id, "file_name": f"{image_id}.png", **size})
        for _ in range(5):
            place = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append({**_object(rng), **place})
    points = ["a", "b", "c"]
    categories = [
        {"id": n, "name": name, "keypoints": points, "skeleton": []}
        for n, name in ((3, "cat"), (7, "dog"))
    ]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "scenes.json").write_text(json.dumps(data))
    return folder


class _Noisy(nn.Module):
    """Finds the objects of an image not quite, some not at all, and some that are not there."""

    def __init__(self, folder: Path, share: float) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.share = share
        data = json.loads((folder / "scenes.json").read_text())
        self.objects: dict[int, list[dict[str, Any]]] = {n: [] for n in range(IMAGES)}
        for annotation in data["annotations"]:
            self.objects[annotation["image_id"]].append(annotation)

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        return [{"instances": self._instances(x["image_id"])} for x in inputs]

    def _instances(self, image_id: int) -> Instances:
        rng = np.random.default_rng([image_id, 5])
        objects = [*self.objects[image_id], _object(rng)] * 2
        objects = [o for o in objects if rng.random() < self.share]
        boxes = torch.tensor([o["bbox"] for o in objects]).reshape(-1, 4)
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        boxes = boxes + torch.from_numpy(rng.normal(0, 1.5, boxes.shape))
        masks = torch.zeros(len(objects), SIZE, SIZE, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().clamp(min=0).int(), strict=True):
            mask[y1:y2, x1:x2] = True
        keypoints = torch.tensor([o["keypoints"] for o in objects]).reshape(-1, 3, 3)
        noise = torch.from_numpy(rng.normal(0, 3, keypoints.shape)).float()
        return Instances(
            (SIZE, SIZE),
            pred_boxes=Boxes(boxes),
            scores=torch.from_numpy(rng.integers(1, 9, len(objects)) / 10),
            pred_classes=torch.tensor([int(o["category_id"] == 7) for o in objects]).long(),
            pred_masks=masks,
            pred_keypoints=keypoints + noise,
        )


def _options(folder: Path, output: Path, *names: str) -> list[str]:
    entry = {"FORMAT": "coco", "JSON": str(folder / "scenes.json"), "IMAGES": str(folder)}
    registered = [{"NAME": name, **entry} for name in names]
    data = ["DATASETS.REGISTER", str(registered), "DATASETS.TEST", str(names)]
    return [*OPTIONS, *data, "OUTPUT_DIR", str(output)]


def _evaluate(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, options: list[str]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """What ``train_net.py --eval-only`` of a model leaves in ``results.json``."""
    monkeypatch.setattr(Trainer, "build_model", lambda cfg: model)
    command = ["--config-file", CONFIG, "--eval-only", "--no-rehearsal", *options]
    assert main(command) == 0
    return json.loads((Path(options[-1]) / "results.json").read_text())


@pytest.mark.parametrize("backend", COCO_BACKENDS)
@pytest.mark.parametrize("limit", [100, 12])
def test_every_task_has_the_numbers_of_detectron2(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, limit: int
) -> None:
    if backend not in ("auto", "pycocotools"):
        pytest.importorskip(backend)
    options = ["TEST.COCO_BACKEND", backend, "TEST.COCO_MAX_DETS_PER_IMAGE", str(limit)]
    options += _options(scenes, tmp_path / "run", "scenes")
    found = _evaluate(monkeypatch, _Noisy(scenes, 0.8), options)["scenes"]
    stock = COCOEvaluator(
        "scenes",
        max_dets_per_image=limit,
        use_fast_impl=False,
        kpt_oks_sigmas=[0.1, 0.2, 0.3],
    )
    loader = Trainer.build_test_loader(load_config(CONFIG, options), "scenes")
    expected = inference_on_dataset(_Noisy(scenes, 0.8), loader, stock)
    assert set(found) == set(expected) == {"bbox", "segm", "keypoints"}
    for task, metrics in expected.items():
        assert 5 < metrics["AP"] < 95, task
        numbers = {name: None if math.isnan(v) else v for name, v in metrics.items()}
        assert found[task] == pytest.approx(numbers, abs=1e-10)


def test_a_model_that_detects_nothing_has_ap_0_in_each_task(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(scenes, tmp_path / "run", "scenes")
    found = _evaluate(monkeypatch, _Noisy(scenes, 0.0), options)["scenes"]
    assert {task: metrics["AP"] for task, metrics in found.items()} == {
        "bbox": 0,
        "segm": 0,
        "keypoints": 0,
    }
    limit = ["TEST.COCO_MAX_DETS_PER_IMAGE", "12"]
    assert _evaluate(monkeypatch, _Noisy(scenes, 0.0), limit + options)["scenes"] == found


def test_each_of_several_data_sets_has_its_folder(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(scenes, tmp_path / "run", "scenes", "scenes_again")
    recall = ["TEST.RECALL.ENABLED", "True"]
    found = _evaluate(monkeypatch, _Noisy(scenes, 0.8), recall + options)
    assert found["scenes"] == found["scenes_again"]
    for name in ("scenes", "scenes_again"):
        inference = tmp_path / "run" / "inference" / name
        assert json.loads((inference / "coco_instances_results.json").read_text())
        assert (inference / f"{name}_recall.json").is_file()
    assert not list((tmp_path / "run" / "inference").glob("*.json"))


def test_an_unknown_class_is_explained(scenes: Path) -> None:
    register_coco("scenes_of_two", scenes / "scenes.json", scenes)
    image = DatasetCatalog.get("scenes_of_two")[0]  # fills in the classes
    evaluator = SafeCOCOEvaluator("scenes_of_two")
    evaluator.reset()
    (output,) = _Noisy(scenes, 1.0)([image])
    output["instances"].pred_classes[-1] = 2
    evaluator.process([image], [output])
    with pytest.raises(DataError, match=r"predicts the class 2, but scenes_of_two has 2 classes"):
        evaluator.evaluate()
    evaluator.reset()
    evaluator.process([image], [output])
    with pytest.raises(AssertionError):  # as Detectron2's own
        evaluator.evaluate()
