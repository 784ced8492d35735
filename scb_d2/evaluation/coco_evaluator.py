"""Detectron2's COCO evaluator: AP 0 where nothing is detected, a choice of implementation."""

from __future__ import annotations

import itertools
import json
import logging
import os
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import COCOeval_opt, _evaluate_predictions_on_coco
from detectron2.structures import BoxMode
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scb_d2.data.reader.catalog import records_of
from scb_d2.data.reader.ground_truth import coco_of

from .coco_backend import coco_eval_class
from .numbered_coco import NumberedCOCO, UnknownClassError
from .whole_files import WholeFiles

__all__ = ["SafeCOCOEvaluator", "UnknownClassError"]

_TASK_OF_FIELD = {"pred_masks": "segm", "pred_keypoints": "keypoints"}


class SafeCOCOEvaluator(WholeFiles, COCOEvaluator):
    """Detectron2's COCO evaluator, whose numbers it gives, on canonical records.

    It takes ids of any kind; the files that it writes have the data set's own.

    A model that detects nothing has AP 0 in each of its tasks, with the usual table; sizes and
    classes without ground truth are ``nan``, as they are with detections. Files are written whole.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
        backend: str = "auto",
    ) -> None:
        """Read the annotations; args as in Detectron2's evaluator, and two that choose how.

        Args:
            dataset_name: a registered data set, whatever it is registered by.
            tasks: of `bbox`, `segm` and `keypoints`; None: those of the model.
            distributed: whether to gather the detections of all ranks.
            output_dir: folder of the detections.
            max_dets_per_image: detections of each image and class that count; None: COCO's 100.
            use_fast_impl: False makes `auto` pycocotools.
            kpt_oks_sigmas: of the keypoints; empty: COCO's.
            allow_cached_coco: without effect; ground truth is never taken from an older run.
            backend: `TEST.COCO_BACKEND`, which implementation evaluates. Without hotcoco `auto`
                takes Detectron2's own fast one, where that is built.

        Raises:
            DataError: if the data set cannot be read.
        """
        # Detectron2's constructor reads a COCO file by rules of its own, so it is not called.
        self._logger = logging.getLogger(__name__)
        self._distributed, self._output_dir, self._tasks = distributed, output_dir, tasks
        self._max_dets_per_image = [1, 10, max_dets_per_image or 100]
        self._kpt_oks_sigmas = list(kpt_oks_sigmas)
        self._cpu_device = torch.device("cpu")
        self._metadata = MetadataCatalog.get(dataset_name)
        self._records = records_of(dataset_name)
        self._do_evaluation = self._records.has_annotations
        self._numbered = NumberedCOCO(self._records, dataset_name)
        self._coco_api = self._numbered.api
        if backend == "auto" and not use_fast_impl:
            backend = "pycocotools"
        self._eval_class = coco_eval_class(backend)
        own_fast = COCOeval_opt is not COCOeval
        if self._eval_class is COCOeval and backend == "auto" and own_fast:
            self._eval_class = COCOeval_opt
        self._tasks_of_model: set[str] = set()

    def reset(self) -> None:
        super().reset()
        self._tasks_of_model = set()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        super().process(inputs, outputs)
        for output in outputs:
            fields = output["instances"].get_fields() if "instances" in output else {}
            self._tasks_of_model.update(
                task for field, task in _TASK_OF_FIELD.items() if field in fields
            )

    def _tasks_from_predictions(self, predictions: list[dict[str, Any]]) -> list[str]:
        # Where nothing is detected there is no mask or keypoint among the predictions.
        return sorted(self._tasks_of_model.union(super()._tasks_from_predictions(predictions)))

    def _eval_predictions(
        self, predictions: list[dict[str, Any]], img_ids: list[int] | None = None
    ) -> None:
        # Detectron2 names its two implementations inside this method, so it cannot be told of a
        # third one.
        rows = list(itertools.chain.from_iterable(p["instances"] for p in predictions))
        tasks = self._tasks or self._tasks_from_predictions(rows)
        self._write_results(self._numbered.in_own_ids(rows))
        if not self._do_evaluation:
            self._logger.info("%s has no annotations to evaluate on.", self._records.subject)
            return
        rows = self._numbered.numbered(rows)
        numbers = None if img_ids is None else [self._numbered.image_number(i) for i in img_ids]
        for task in sorted(tasks):
            self._results[task] = self._derive_coco_results(
                self._evaluate_task(rows, task, numbers),
                task,
                class_names=self._records.class_names,
            )

    def _write_results(self, rows: list[dict[str, Any]]) -> None:
        """Write the results, and beside them the annotations that no file in COCO's format has."""
        if not self._output_dir:
            return
        files: dict[str, Any] = {"coco_instances_results.json": rows}
        if not self._metadata.get("json_file"):
            files["coco_annotations.json"] = coco_of(self._records)
        for name, content in files.items():
            with open(os.path.join(self._output_dir, name), "w", encoding="utf-8") as file:
                json.dump(content, file)

    def _eval_box_proposals(self, predictions: list[dict[str, Any]]) -> None:
        # Detectron2 writes and evaluates in one method; the file keeps the data set's own ids.
        output_dir = self._output_dir
        if output_dir:
            found = [p["proposals"] for p in predictions]
            content = {
                "boxes": [f.proposal_boxes.tensor.numpy() for f in found],
                "objectness_logits": [f.objectness_logits.numpy() for f in found],
                "ids": [p["image_id"] for p in predictions],
                "bbox_mode": BoxMode.XYXY_ABS.value,
            }
            with open(os.path.join(output_dir, "box_proposals.pkl"), "wb") as file:
                pickle.dump(content, file)
        self._output_dir = None
        try:
            super()._eval_box_proposals(
                [{**p, "image_id": self._numbered.image_number(p["image_id"])} for p in predictions]
            )
        finally:
            self._output_dir = output_dir

    def _evaluate_task(self, rows: list[dict[str, Any]], task: str, img_ids: Any) -> COCOeval:
        if not rows:
            self._logger.warning("The model detects nothing: AP of %s is 0.", task)
            return self._evaluate_nothing(task, img_ids)
        return _evaluate_predictions_on_coco(
            self._coco_api,
            rows,
            task,
            kpt_oks_sigmas=self._kpt_oks_sigmas,
            cocoeval_fn=self._eval_class,
            img_ids=img_ids,
            max_dets_per_image=self._max_dets_per_image,
        )

    def _evaluate_nothing(self, task: str, img_ids: Any) -> COCOeval:
        nothing = COCO()
        nothing.dataset = {**self._coco_api.dataset, "annotations": []}
        nothing.createIndex()
        coco_eval = COCOeval(self._coco_api, nothing, task)
        if img_ids is not None:
            coco_eval.params.imgIds = img_ids
        if task == "keypoints" and self._kpt_oks_sigmas:
            coco_eval.params.kpt_oks_sigmas = np.array(self._kpt_oks_sigmas)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
        return coco_eval
