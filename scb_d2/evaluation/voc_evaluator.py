"""PASCAL VOC's average precision from canonical records."""

from __future__ import annotations

import itertools
import json
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.evaluation.pascal_voc_evaluation import voc_ap
from detectron2.utils import comm
from numpy.typing import NDArray

from scb_d2.data.reader.catalog import records_of
from scb_d2.data.reader.ground_truth import GroundTruth, coco_of, columns_of
from scb_d2.errors import DataError
from scb_d2.utils.files import atomic_write

__all__ = ["VOCEvaluator", "voc_average_precision"]

Array = NDArray[Any]
_THRESHOLDS = tuple(range(50, 100, 5))


class VOCEvaluator(DatasetEvaluator):
    """The numbers of Detectron2's ``PascalVOCDetectionEvaluator``, from canonical records.

    Detectron2 parses the XML files again, and fails on some that it trains on. A class without an
    object to find is left out of the mean here, under both rules; there it makes the mean ``nan``
    or counts as 0.
    """

    def __init__(
        self, dataset_name: str, *, distributed: bool = True, output_dir: str | None = None
    ) -> None:
        """Read the annotations.

        Args:
            dataset_name: a registered data set; ``year`` 2007 in its metadata takes AP at 11
                recalls, any other the area under the curve.
            distributed: whether to gather the detections of all ranks.
            output_dir: where ``coco_instances_results.json`` and ``coco_annotations.json`` are
                written, if anywhere.

        Raises:
            DataError: if the data set cannot be read.
        """
        self._logger = logging.getLogger(__name__)
        self._name, self._distributed = dataset_name, distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._records = records_of(dataset_name)
        self._ground_truth = columns_of(self._records)
        self._is_2007 = MetadataCatalog.get(dataset_name).get("year") == 2007
        self.reset()

    def reset(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        for image, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to(torch.device("cpu"))
            if instances.has("pred_masks"):
                instances.remove("pred_masks")
            self._rows += instances_to_coco_json(instances, image["image_id"])

    def evaluate(self) -> dict[str, dict[str, float]]:
        """AP, AP50 and AP75 in percent, on the main process; ``{}`` on the others."""
        rows = self._rows
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather(rows, dst=0)
            if not comm.is_main_process():
                return {}
            rows = list(itertools.chain.from_iterable(gathered))
        truth = self._ground_truth
        index = {image_id: n for n, image_id in enumerate(truth.image_ids)}
        image = np.array([index[row["image_id"]] for row in rows], dtype=np.int64)
        category = np.array([row["category_id"] for row in rows], dtype=np.int64)
        if (category >= truth.num_classes).any():
            raise DataError(
                f"the model predicts the class {category.max()}, but {self._name} has "
                f"{truth.num_classes} classes, which are numbered from 0 to "
                f"{truth.num_classes - 1}."
            )
        boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
        scores = np.array([row["score"] for row in rows], dtype=np.float64)
        if self._output_dir is not None:
            self._write(rows)
        found = [
            [
                voc_average_precision(
                    truth, n, image[mine], boxes[mine], scores[mine], t / 100, self._is_2007
                )
                for t in _THRESHOLDS
            ]
            for n in range(truth.num_classes)
            for mine in [category == n]
        ]
        by_class = np.array(found) * 100
        empty = np.isnan(by_class[:, 0])
        if empty.any():
            names = [name for name, out in zip(truth.category_names, empty, strict=True) if out]
            self._logger.warning(
                "%s has no object of these classes, which are left out of the mean: %s.",
                self._name,
                ", ".join(names),
            )
        mean = by_class[~empty].mean(0) if not empty.all() else by_class[0]
        rule = "2007's 11 recalls" if self._is_2007 else "the area under the curve"
        self._logger.info("PASCAL VOC's AP of %s by %s.", self._name, rule)
        named = {"AP": mean.mean(), "AP50": mean[0], "AP75": mean[_THRESHOLDS.index(75)]}
        return OrderedDict(bbox={key: float(value) for key, value in named.items()})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._output_dir.mkdir(parents=True, exist_ok=True)
        files = {
            "coco_instances_results.json": rows,
            "coco_annotations.json": coco_of(self._records),
        }
        for name, content in files.items():
            with atomic_write(self._output_dir / name, encoding="utf-8") as file:
                json.dump(content, file)


def voc_average_precision(
    ground_truth: GroundTruth,
    category: int,
    image: Array,
    boxes: Array,
    scores: Array,
    iou: float,
    use_07_metric: bool,
) -> float:
    """Average precision of one class by VOC's rules, as Detectron2 computes it.

    A detection belongs to the object it overlaps most, and is right if that is not taken yet;
    difficult objects count neither way. Pixels are counted inclusively, scores are rounded to three
    decimals and boxes to one, as in the files that VOC's evaluation reads.

    Args:
        ground_truth: the objects.
        category: index of the class.
        image: (D,) index of the image of each detection.
        boxes: (D, 4) x, y, width, height.
        scores: (D,) confidences.
        iou: a match overlaps by more than this.
        use_07_metric: AP at 11 recalls instead of the area under the curve.

    Returns:
        AP from 0 to 1; NaN for a class without an object to find.
    """
    mine = np.flatnonzero(ground_truth.category == category)
    easy = ~ground_truth.difficult[mine]
    if not easy.any():
        return float("nan")
    objects = _inclusive_corners(ground_truth.boxes[mine])
    of_image = {n: np.flatnonzero(ground_truth.image[mine] == n) for n in np.unique(image)}
    order = np.argsort(-np.round(scores, 3))
    found = np.round(_inclusive_corners(boxes), 1)
    taken = np.zeros(len(mine), dtype=bool)
    right, wrong = np.zeros(len(order)), np.zeros(len(order))
    for place, n in enumerate(order):
        candidates = of_image[image[n]]
        overlaps = _inclusive_ious(found[n], objects[candidates])
        if not len(candidates) or not overlaps.max() > iou:
            wrong[place] = 1
            continue
        best = candidates[overlaps.argmax()]
        if easy[best]:
            (wrong if taken[best] else right)[place] = 1
            taken[best] = True
    right, wrong = right.cumsum(), wrong.cumsum()
    recall = right / easy.sum()
    precision = right / np.maximum(right + wrong, np.finfo(np.float64).eps)
    return float(voc_ap(recall, precision, use_07_metric))


def _inclusive_corners(boxes: Array) -> Array:
    """(G, 4) indices of the first and last pixels, from 1, of x, y, width, height."""
    return np.concatenate([boxes[:, :2] + 1, boxes[:, :2] + boxes[:, 2:]], axis=1)


def _inclusive_ious(box: Array, others: Array) -> Array:
    sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2]) + 1
    overlap = sides.clip(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2] + 1).prod(1)
    return overlap / ((box[2:] - box[:2] + 1).prod() + areas - overlap)
