"""Recall tables and AP against pycocotools, and the bootstrap of a comparison.

Synthetic data of COCO's kind: 80 classes, some 7.3 objects and 100 detections per image; 2,000
images, for the bootstrap 5,000. Loading and indexing of files is left out on both sides but where a
row says otherwise.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hotcoco
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scb_d2.compare.metrics import bootstrap_differences, list_metrics
from scb_d2.compare.operating_point import OperatingPoint
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.evaluation.coco_backend import coco_eval_class
from scb_d2.evaluation.recall import RecallSettings, RunTables, evaluate_recall

from .harness import Ratio, compare, from_pairs, seconds


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


def _ours_from_files(truth_file: Path, results_file: Path) -> None:
    truth = load_ground_truth(truth_file)
    evaluate_recall(truth, load_detections(results_file, truth))


def _hotcoco_from_files(truth_file: Path, results_file: Path) -> None:
    truth = hotcoco.COCO(str(truth_file))
    with redirect_stdout(io.StringIO()):
        evaluation = hotcoco.COCOeval(truth, truth.load_res(str(results_file)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Recall tables and AP against pycocotools and hotcoco; resamples against 20 s for 1,000."""
    if device != "cpu":
        return
    os.environ["RAYON_NUM_THREADS"] = "1"  # hotcoco's, which takes all cores otherwise
    data = synthetic_data(200 if quick else 2000)
    results = synthetic_results(data, 100)
    truth = load_ground_truth(data)
    detections = load_detections(results, truth)
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = data
        coco.createIndex()
        coco_results = coco.loadRes(results)

    def pycocotools() -> None:
        with redirect_stdout(io.StringIO()):
            evaluation = COCOeval(coco, coco_results, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()

    def by_hotcoco() -> None:
        with redirect_stdout(io.StringIO()):
            evaluation = coco_eval_class("hotcoco")(coco, coco_results, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()

    scene = f"{truth.num_images} images x 100 detections"
    rows = []
    for _ in range(2):  # half a minute each
        slow = seconds(pycocotools)
        rows += [(seconds(by_hotcoco), seconds(lambda: evaluate_recall(truth, detections)), slow)]
    backend, ours = ([(row[n], row[2]) for row in rows] for n in (0, 1))
    yield from_pairs(f"TEST.COCO_BACKEND hotcoco, {scene} / pycocotools", backend, "s", 0.02)
    yield from_pairs(f"recall tables and AP, {scene} / pycocotools", ours, "s", 0.5)
    with TemporaryDirectory() as folder:
        truth_file, results_file = Path(folder, "truth.json"), Path(folder, "results.json")
        truth_file.write_text(json.dumps(data))
        results_file.write_text(json.dumps(results))
        yield compare(
            f"recall tables and AP from files, {scene} / hotcoco's AP from them",
            partial(_ours_from_files, truth_file, results_file),
            partial(_hotcoco_from_files, truth_file, results_file),
            pairs=5,
            target=1.5,
        )
    yield from _bootstrap(200 if quick else 5000, 20 if quick else 200)


def _bootstrap(images: int, resamples: int) -> Iterator[Ratio]:
    data, settings = synthetic_data(images), RecallSettings(fp_per_image=(1.0,))
    truth = load_ground_truth(data)
    runs = (load_detections(synthetic_results(data, 100, seed), truth) for seed in (0, 1))
    pair = tuple(RunTables.from_detections(truth, run, settings) for run in runs)
    metrics = [m for m in list_metrics(settings, OperatingPoint("baseline", 0.3)) if m.judged]
    draw = partial(bootstrap_differences, metrics, [pair], images, resamples)
    busy = time.process_time()
    spent = seconds(draw)
    busy = time.process_time() - busy
    allowed = 20.0 * resamples / 1000
    name = f"bootstrap of one seed pair of {images} images, {resamples} resamples"
    label = f"{allowed:g} s, 20 for 1000"
    yield from_pairs(f"{name}, time of the processor / {label}", [(busy, allowed)], "s")
    yield from_pairs(f"{name}, time on the clock / {label}", [(spent, allowed)], "s", 1.0)
