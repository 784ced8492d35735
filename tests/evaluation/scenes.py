"""Scenes in COCO format and a plain-Python oracle of what is measured on them."""

from __future__ import annotations

import copy
import io
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]


def annotations(*objects: dict[str, Any], images: int = 1) -> dict[str, Any]:
    """COCO annotations; an object needs `bbox`, the rest has defaults."""
    rows = []
    for number, entry in enumerate(objects, start=1):
        width, height = entry["bbox"][2:]
        rows.append(
            {"id": number, "image_id": 1, "category_id": 1, "area": width * height, "iscrowd": 0}
            | entry
        )
    sizes = {"width": 400, "height": 300}
    pictures = [{"id": n, "file_name": f"{n}.jpg", **sizes} for n in range(1, images + 1)]
    return {"images": pictures, "annotations": rows, "categories": CATEGORIES}


def result(bbox: list[float], score: float, **fields: Any) -> dict[str, Any]:
    """One detection."""
    return {"image_id": 1, "category_id": 1, "bbox": bbox, "score": score} | fields


def random_scene(seed: int, images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Overlapping objects of all sizes with crowds, twins and ties, and good and bad detections."""
    rng = np.random.default_rng(seed)
    data = annotations(images=images)
    rng.shuffle(data["images"])
    results = []
    for image in data["images"]:
        boxes: list[list[float]] = []
        for _ in range(rng.integers(0, 7)):
            size = np.exp(rng.uniform(np.log(5), np.log(200), 2))
            corner = rng.uniform(0, 1, 2) * ([400, 300] - size)
            box = [*corner.round(1).tolist(), *size.round(1).tolist()]
            if boxes and rng.random() < 0.2:
                box = boxes[rng.integers(len(boxes))]
            boxes.append(box)
            data["annotations"].append(
                {
                    "id": len(data["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice([1, 3])),
                    "bbox": box,
                    "area": box[2] * box[3] * rng.uniform(0.5, 1) if rng.random() < 0.7 else 1024.0,
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
        for _ in range(rng.integers(0, 13)):
            if boxes and rng.random() < 0.7:
                x, y, width, height = boxes[rng.integers(len(boxes))]
                dx, dy, dw, dh = rng.normal(0, 0.1, 4) * (rng.random() < 0.8)
                box = [x + dx * width, y + dy * height, width * np.exp(dw), height * np.exp(dh)]
            else:
                box = [*rng.uniform(0, 200, 2).tolist(), *rng.uniform(5, 90, 2).tolist()]
            # Few digits, so that scores tie.
            score = float(rng.random().__round__(2))
            results.append(
                result(box, score, image_id=image["id"], category_id=int(rng.choice([1, 3])))
            )
    return data, results


def coco_eval(
    data: dict[str, Any],
    results: list[dict[str, Any]],
    eval_class: type[COCOeval] = COCOeval,
    **params: Any,
) -> COCOeval:
    """pycocotools' evaluation, or that of a class like it; `params` are set on its `Params`."""
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(data)
        truth.createIndex()
        evaluation = eval_class(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        if not params:
            evaluation.summarize()
    return evaluation


def iou(a: list[float], b: list[float], crowd: bool = False) -> float:
    """IoU of two boxes (x, y, width, height); with a crowd b, share of a that lies in b."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    return inside / (a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - inside)


def oracle(
    data: dict[str, Any], results: list[dict[str, Any]], threshold: float, rule: str = "greedy"
) -> tuple[set[int], int, list[float]]:
    """Loop over detections above a score; IoU 0.5.

    Returns:
        ids of the objects found (not the ignored ones), true positives, areas of the boxes of the
        false positives.
    """
    found: set[int] = set()
    right, wrong = 0, []
    kept = [row for row in results if row["score"] >= threshold]
    for row in sorted(kept, key=lambda row: -row["score"]):
        overlaps = []
        area = row["bbox"][2] * row["bbox"][3]
        for entry in data["annotations"]:
            same = entry["category_id"] == row["category_id"] or rule == "any"
            if entry["image_id"] == row["image_id"] and same:
                value = iou(row["bbox"], entry["bbox"], bool(entry["iscrowd"]))
                if value >= 0.5:
                    ignored = bool(entry["iscrowd"] or entry.get("difficult"))
                    overlaps.append((not ignored, value, entry["id"]))
        if rule == "any":
            real = {number for is_real, _, number in overlaps if is_real}
            found |= real
            right += bool(real)
            wrong += [] if overlaps else [area]
            continue
        free = [overlap for overlap in overlaps if overlap[2] not in found]
        if not free:
            wrong.append(area)
        elif max(free)[0]:
            found.add(max(free)[2])
            right += 1
    return found, right, wrong
