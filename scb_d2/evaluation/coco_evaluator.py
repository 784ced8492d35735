"""Detectron2's COCO evaluator: AP 0 where nothing is detected, a choice of implementation."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import COCOeval_opt, _evaluate_predictions_on_coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scb_d2.errors import DataError

from .coco_backend import coco_eval_class
from .whole_files import WholeFiles

__all__ = ["SafeCOCOEvaluator", "UnknownClassError"]

_TASK_OF_FIELD = {"pred_masks": "segm", "pred_keypoints": "keypoints"}


class UnknownClassError(DataError, AssertionError):
    """The model predicts a class that the data set lacks; Detectron2 raises an AssertionError."""


class SafeCOCOEvaluator(WholeFiles, COCOEvaluator):
    """Detectron2's COCO evaluator, whose numbers it gives.

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
            dataset_name: a registered data set.
            tasks: of `bbox`, `segm` and `keypoints`; None: those of the model.
            distributed: whether to gather the detections of all ranks.
            output_dir: folder of the detections.
            max_dets_per_image: detections of each image and class that count; None: COCO's 100.
            use_fast_impl: False makes `auto` pycocotools.
            kpt_oks_sigmas: of the keypoints; empty: COCO's.
            allow_cached_coco: whether a data set that was converted to COCO JSON before is not
                converted again.
            backend: `TEST.COCO_BACKEND`, which implementation evaluates. Without hotcoco `auto`
                takes Detectron2's own fast one, where that is built.
        """
        super().__init__(
            dataset_name,
            tasks,
            distributed,
            output_dir,
            max_dets_per_image=max_dets_per_image,
            use_fast_impl=use_fast_impl,
            kpt_oks_sigmas=kpt_oks_sigmas,
            allow_cached_coco=allow_cached_coco,
        )
        if backend == "auto" and not use_fast_impl:
            backend = "pycocotools"
        self._eval_class = coco_eval_class(backend)
        if self._eval_class is COCOeval and backend == "auto" and self._use_fast_impl:
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
        self._to_category_ids(rows)
        if self._output_dir:
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(rows, file)
        if not self._do_evaluation:
            self._logger.info("%s has no annotations to evaluate on.", self._metadata.json_file)
            return
        for task in sorted(tasks):
            self._results[task] = self._derive_coco_results(
                self._evaluate_task(rows, task, img_ids),
                task,
                class_names=self._metadata.get("thing_classes"),
            )

    def _to_category_ids(self, rows: list[dict[str, Any]]) -> None:
        """Name classes by the ids of the annotations, in place."""
        contiguous_ids = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if contiguous_ids is None:
            return
        category_ids = {contiguous: own for own, contiguous in contiguous_ids.items()}
        for row in rows:
            if row["category_id"] not in category_ids:
                raise UnknownClassError(
                    f"the model predicts the class {row['category_id']}, but "
                    f"{self._metadata.name} has {len(category_ids)} classes, which are numbered "
                    f"from 0 to {len(category_ids) - 1}."
                )
            row["category_id"] = category_ids[row["category_id"]]

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
