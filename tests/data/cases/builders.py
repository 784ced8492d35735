"""A small sound data set with perfect detections, to be made odd in one way each."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

WIDTH, HEIGHT = 64, 48
# Three images with objects of two classes, small and not so small; one image has none.
OBJECTS = {
    1: [(0, (4, 5, 20, 16)), (1, (30, 10, 24, 30)), (0, (2, 30, 12, 14))],
    2: [(1, (10, 8, 33, 34)), (0, (50, 2, 10, 12))],
    3: [(0, (20, 20, 9, 11)), (0, (40, 20, 15, 15)), (1, (1, 1, 17, 19))],
    4: [],
}
NAMES = ["cell", "plate"]
Change = Callable[[dict[str, Any]], Any]


def coco_content() -> dict[str, Any]:
    """The data set as COCO JSON, with polygons of the boxes."""
    images, annotations = [], []
    for image_id, objects in OBJECTS.items():
        name = f"{image_id}.png"
        images.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for category, (x, y, w, h) in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_images(folder: Path) -> Path:
    """Pictures of noise, the same each time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for image_id in OBJECTS:
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
    return folder


def write_coco(folder: Path, change: Change = lambda content: None) -> tuple[Path, Path]:
    """The JSON file, made odd by ``change``, and the folder of the images."""
    content = copy.deepcopy(coco_content())
    change(content)
    images = write_images(folder / "images")
    (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "a.json", images


def perfect(record: dict[str, Any]) -> Instances:
    """Detections that are the objects of an image, by its file's name."""
    objects = OBJECTS[int(Path(record["file_name"]).stem)]
    boxes = torch.tensor([[x, y, x + w, y + h] for _, (x, y, w, h) in objects])
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(boxes.reshape(-1, 4).float()),
        scores=torch.linspace(0.9, 0.5, len(objects)),
        pred_classes=torch.tensor([c for c, _ in objects], dtype=torch.int64),
    )


def evaluate(evaluator: Any, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What an evaluator says of perfect detections."""
    evaluator.reset()
    for record in records:
        image = torch.zeros(3, HEIGHT, WIDTH)
        evaluator.process([{**record, "image": image}], [{"instances": perfect(record)}])
    return evaluator.evaluate()
