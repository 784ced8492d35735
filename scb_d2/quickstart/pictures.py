"""The two pictures of a quick start."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from scb_d2.predict.categories import find_categories
from scb_d2.predict.images import read_image
from scb_d2.utils.size_groups import SIZE_EDGES
from scb_d2.visualization.boxes import draw_instances
from scb_d2.visualization.curves import write_training_curves
from scb_d2.visualization.grid import write_picture_grid

__all__ = ["CURVES_FILE", "GRID_FILE", "SCORE_THRESHOLD", "write_pictures"]

CURVES_FILE = "curves.png"
GRID_FILE = "detections.png"
SCORE_THRESHOLD = 0.35
_PICTURES = 8
_PICTURE_SIDE = 480


def write_pictures(cfg: CfgNode, results: dict[str, float]) -> None:
    """Write detections against ground truth, and the training curves, into ``OUTPUT_DIR``.

    Args:
        cfg: config of a finished and evaluated run.
        results: its COCO metrics in percent.
    """
    folder = Path(cfg.OUTPUT_DIR)
    name = "RetinaNet with the scale-balanced loss" if cfg.MODEL.SCB.ENABLED else "stock RetinaNet"
    _write_grid(cfg, folder, f"{name}: {cfg.DATASETS.TEST[0]}, AP {results['AP']:.1f}")
    write_training_curves(folder / CURVES_FILE, folder / "metrics.json", f"{name}: training")


def _write_grid(cfg: CfgNode, folder: Path, title: str) -> None:
    dataset = cfg.DATASETS.TEST[0]
    records = DatasetCatalog.get(dataset)[:_PICTURES]
    detections = _detections(folder / "inference" / "coco_instances_results.json", dataset)
    categories = find_categories([dataset])
    pictures, captions = [], []
    for record in records:
        image = read_image(record["file_name"])
        gt_boxes = np.array([_xyxy(a["bbox"], a["bbox_mode"]) for a in record["annotations"]])
        gt_boxes = gt_boxes.reshape(-1, 4)
        found = detections[record["image_id"]]
        instances = Instances(image.shape[:2])
        instances.pred_boxes = Boxes(torch.tensor([d[0] for d in found]).reshape(-1, 4))
        instances.pred_classes = torch.tensor([d[1] for d in found], dtype=torch.int64)
        instances.scores = torch.tensor([d[2] for d in found])
        pictures.append(
            draw_instances(image, instances, categories.name, gt_boxes, min_side=_PICTURE_SIDE)
        )
        small = int(((gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(axis=1) < SIZE_EDGES[0]).sum())
        captions.append(f"{len(gt_boxes)} objects, {small} small; {len(found)} detections")
    title += f"\nscores from {SCORE_THRESHOLD:g} on; small: box below 32 x 32 px"
    write_picture_grid(folder / GRID_FILE, pictures, captions, categories.names, title)


def _detections(path: Path, dataset: str) -> dict[int, list[tuple[list[float], int, float]]]:
    """Box (XYXY), class index and score of an image's detections, by image id."""
    index = MetadataCatalog.get(dataset).thing_dataset_id_to_contiguous_id
    found = defaultdict(list)
    for result in json.loads(path.read_text(encoding="utf-8")):
        if result["score"] >= SCORE_THRESHOLD:
            box = _xyxy(result["bbox"], BoxMode.XYWH_ABS)
            found[result["image_id"]].append((box, index[result["category_id"]], result["score"]))
    return found


def _xyxy(box: list[float], mode: int) -> list[float]:
    return BoxMode.convert(list(box), mode, BoxMode.XYXY_ABS)
