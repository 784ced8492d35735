"""Simulated runs: objects are found with a known probability per arm and seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml


def scene(images: int, seed: int = 0) -> dict[str, Any]:
    """COCO annotations with two small and one medium object per image, apart from each other."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(1, images + 1):
        for n, side in enumerate((12, 20, 50)):
            corner = [90 * n + rng.integers(0, 30), int(rng.integers(0, 100))]
            box = [float(v) for v in (*corner, side, side)]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": box}
                | {"area": float(side * side), "iscrowd": 0}
            )
    return {
        "images": [
            {"id": n, "width": 300, "height": 200, "file_name": f"{n}.png"}
            for n in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }


def detections(data: dict[str, Any], rate: float, seed: int, hard: Any = 0.0) -> list[dict]:
    """Each object is found with probability `rate` (+ `hard` of its image) and an exact box."""
    rng = np.random.default_rng(seed)
    hard = np.broadcast_to(hard, len(data["images"]))
    results = []
    for row in data["annotations"]:
        if rng.random() < rate + hard[row["image_id"] - 1]:
            results.append(
                {"image_id": row["image_id"], "category_id": 1, "bbox": row["bbox"]}
                | {"score": float(rng.uniform(0.2, 1))}
            )
    for image in data["images"]:
        results.append(
            {"image_id": image["id"], "category_id": 1, "bbox": [250.0, 150.0, 30.0, 30.0]}
            | {"score": float(rng.uniform(0.05, 0.5))}
        )
    return results


def write_run(
    folder: Path, results: list[dict], seed: int | None, truth: Path, name: str = "my_val"
) -> str:
    """What `train_net.py` leaves behind; returns the folder's path."""
    (folder / "inference").mkdir(parents=True)
    (folder / "inference" / "coco_instances_results.json").write_text(json.dumps(results))
    entry = {"NAME": name, "FORMAT": "coco", "JSON": str(truth), "IMAGES": str(truth.parent)}
    config = {"SEED": -1 if seed is None else seed}
    config["DATASETS"] = {"TEST": [name], "REGISTER": [entry]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder)
