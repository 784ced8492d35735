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

from scb_d2.analysis.compare_metrics import RunTables, bootstrap_differences
from scb_d2.evaluation.coco_format import load_detections, load_ground_truth
from scb_d2.evaluation.recall import RecallSettings, evaluate_recall


def synthetic_data(images: int, seed: int = 0, classes: int = 80) -> dict[str, Any]:
    """COCO annotations with some 7.3 objects per image, of 8 to 300 pixels."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(1, images + 1):
        count = rng.poisson(7.3)
        size = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
        boxes = np.concatenate([rng.uniform(0, 1, (count, 2)) * ([640, 480] - size), size], 1)
        labels = rng.integers(1, classes + 1, count)
        for box, label in zip(boxes, labels, strict=True):
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label)}
            row |= {"bbox": box.tolist(), "area": float(box[2] * box[3] * 0.7), "iscrowd": 0}
            annotations.append(row)
    return {
        "images": [{"id": n, "width": 640, "height": 480} for n in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": n, "name": f"class {n}"} for n in range(1, classes + 1)],
    }


def synthetic_results(data: dict[str, Any], detections: int, seed: int = 0) -> list[dict[str, Any]]:
    """COCO results: half of an image's detections lie near its objects, mostly of their class."""
    rng = np.random.default_rng(seed)
    classes = len(data["categories"])
    objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
    for row in data["annotations"]:
        objects[row["image_id"]].append(row)
    results = []
    for image, rows in objects.items():
        near = rng.integers(0, len(rows), detections // 2) if rows else np.zeros(0, int)
        boxes = np.array([rows[n]["bbox"] for n in near]).reshape(-1, 4)
        jitter = rng.normal(0, 0.12, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        found = np.maximum(boxes + jitter, 1)
        rest = detections - len(near)
        other = np.concatenate([rng.uniform(0, 400, (rest, 2)), rng.uniform(5, 200, (rest, 2))], 1)
        labels = rng.integers(1, classes + 1, detections)
        same = np.flatnonzero(rng.random(len(near)) < 0.8)
        labels[same] = [rows[near[n]]["category_id"] for n in same]
        scores = np.concatenate([rng.beta(2, 3, len(near)), rng.beta(1, 8, rest)])
        for box, label, score in zip(
            np.concatenate([found, other]).tolist(), labels.tolist(), scores.tolist(), strict=True
        ):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    return results


def time_of(function: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds on the clock and of the processor that a call takes, and its value."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, value


def main() -> None:
    """Run the benchmark and print or write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=0, help="bootstrap resamples; 0: none")
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args()

    data = synthetic_data(args.images)
    results = synthetic_results(data, args.detections)
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
        ratios = {
            f"{kind}_ratio": ours[f"{kind}_s"] / theirs[f"{kind}_s"] for kind in ("wall", "cpu")
        }
        rounds.append({"ours": ours, "pycocotools": theirs, **ratios})
    report = {
        "machine": f"{platform.processor() or platform.machine()}, numpy {np.__version__}",
        "images": args.images,
        "objects": len(truth),
        "detections": len(detections),
        "rounds": rounds,
        "allowed_ratio": 0.5,
    }
    if rounds:
        with redirect_stdout(io.StringIO()):
            evaluation.summarize()
        report["largest_ratio"] = max(row["wall_ratio"] for row in rounds)
        report["AP"] = table["metrics"]["AP"]
        report["AP_pycocotools"] = 100 * evaluation.stats[0]
    if args.resamples:
        settings = RecallSettings(fp_per_image=(1.0,))
        other = load_detections(synthetic_results(data, args.detections, seed=1), truth)
        pair = tuple(RunTables.from_detections(truth, run, settings) for run in (detections, other))
        seconds, _ = time_of(
            lambda: bootstrap_differences([pair], truth.num_images, args.resamples, progress=True)
        )
        report["bootstrap"] = {
            "resamples": args.resamples,
            "seed_pairs": 1,
            **seconds,
            "allowed_s": 600,
        }
    text = json.dumps(report, indent=2)
    print(text)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
