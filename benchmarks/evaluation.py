"""Time of the recall tables against pycocotools, and of the bootstrap.

Synthetic data of COCO's size: 5,000 images, 80 classes, some 36,000 objects, 100 detections per
image. Each round runs matching, recall tables and point AP, then one pycocotools `evaluate()` and
`accumulate()`, and gives their ratio. Loading and indexing of files is left out on both sides.

    python benchmarks/evaluation.py --rounds 3 --resamples 1000 --output evaluation.json
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scb_d2.evaluation.coco_format import load_detections, load_ground_truth
from scb_d2.evaluation.recall import evaluate_recall


def synthetic(
    images: int, detections: int, seed: int = 0, classes: int = 80
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO annotations and results: of an image's detections, half lie near its objects."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        count = rng.poisson(7.3)
        size = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
        boxes = np.concatenate([rng.uniform(0, 1, (count, 2)) * ([640, 480] - size), size], 1)
        labels = rng.integers(1, classes + 1, count)
        for box, label in zip(boxes, labels, strict=True):
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label)}
            row |= {"bbox": box.tolist(), "area": float(box[2] * box[3] * 0.7), "iscrowd": 0}
            annotations.append(row)
        near = rng.integers(0, count, detections) if count else np.zeros(0, int)
        near = near[: detections // 2]
        jitter = rng.normal(0, 0.12, (len(near), 4)) * boxes[near][:, [2, 3, 2, 3]]
        found = np.maximum(boxes[near] + jitter, 1)
        rest = detections - len(near)
        other = np.concatenate([rng.uniform(0, 400, (rest, 2)), rng.uniform(5, 200, (rest, 2))], 1)
        other_labels = rng.integers(1, classes + 1, rest)
        same = rng.random(len(near)) < 0.8
        near_labels = np.where(same, labels[near], rng.integers(1, classes + 1, len(near)))
        scores = np.concatenate([rng.beta(2, 3, len(near)), rng.beta(1, 8, rest)])
        for box, label, score in zip(
            np.concatenate([found, other]).tolist(),
            np.concatenate([near_labels, other_labels]).tolist(),
            scores.tolist(),
            strict=True,
        ):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    data = {
        "images": [{"id": n, "width": 640, "height": 480} for n in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": n, "name": f"class {n}"} for n in range(1, classes + 1)],
    }
    return data, results


def time_of(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its value."""
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def main() -> None:
    """Run the benchmark and print or write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=0, help="bootstrap resamples; 0: none")
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args()

    data, results = synthetic(args.images, args.detections)
    truth = load_ground_truth(data)
    detections = load_detections(results, truth)
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = data
        coco.createIndex()
        coco_results = coco.loadRes(results)

    def pycocotools() -> COCOeval:
        with redirect_stdout(io.StringIO()):
            evaluation = COCOeval(coco, coco_results, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            return evaluation

    rounds = []
    for _ in range(args.rounds):
        ours, table = time_of(lambda: evaluate_recall(truth, detections))
        theirs, evaluation = time_of(pycocotools)
        rounds.append({"ours_s": ours, "pycocotools_s": theirs, "ratio": ours / theirs})
    with redirect_stdout(io.StringIO()):
        evaluation.summarize()
    report = {
        "machine": f"{platform.processor() or platform.machine()}, numpy {np.__version__}",
        "images": args.images,
        "objects": len(truth),
        "detections": len(detections),
        "rounds": rounds,
        "largest_ratio": max(row["ratio"] for row in rounds),
        "allowed_ratio": 0.5,
        "AP": table["metrics"]["AP"],
        "AP_pycocotools": 100 * evaluation.stats[0],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
