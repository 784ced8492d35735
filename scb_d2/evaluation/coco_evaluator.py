"""Detectron2's COCO evaluator with a choice of implementation."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

from detectron2.evaluation.coco_evaluation import _evaluate_predictions_on_coco

from scb_d2.data.reader.ground_truth import category_id_of
from scb_d2.engine.training.parts import WHOLE_FILES

from .coco_backend import coco_eval_class
from .zero_aware_evaluator import ZeroAwareCOCOEvaluator

__all__ = ["BackendCOCOEvaluator"]


class BackendCOCOEvaluator(ZeroAwareCOCOEvaluator):
    """See :class:`detectron2.evaluation.COCOEvaluator`; `backend` is `TEST.COCO_BACKEND`.

    Where Detectron2's own fast implementation is built, `auto` leaves it to work.
    """

    def __init__(self, dataset_name: str, *args: Any, backend: str = "auto", **kwargs: Any) -> None:
        self._eval_class = coco_eval_class(backend)
        super().__init__(dataset_name, *args, **kwargs)
        self._own_fast_impl = backend == "auto" and self._use_fast_impl
        self._dataset_name = dataset_name

    def _eval_predictions(
        self, predictions: list[dict[str, Any]], img_ids: list[int] | None = None
    ) -> None:
        # Detectron2 names its two implementations inside this method, so it cannot be told of a
        # third one.
        if self._own_fast_impl or not self._do_evaluation:
            super()._eval_predictions(predictions, img_ids)
            return
        rows = list(itertools.chain.from_iterable(p["instances"] for p in predictions))
        tasks = self._tasks or self._tasks_from_predictions(rows)
        category_ids = category_id_of(self._dataset_name)
        for row in rows:
            row["category_id"] = category_ids[row["category_id"]]
        if self._output_dir:
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            with WHOLE_FILES.open(path, "w") as file:
                json.dump(rows, file)
        for task in sorted(tasks):
            evaluation = None
            if rows:
                evaluation = _evaluate_predictions_on_coco(
                    self._coco_api,
                    rows,
                    task,
                    kpt_oks_sigmas=self._kpt_oks_sigmas,
                    cocoeval_fn=self._eval_class,
                    img_ids=img_ids,
                    max_dets_per_image=self._max_dets_per_image,
                )
            self._results[task] = self._derive_coco_results(
                evaluation, task, class_names=self._metadata.get("thing_classes")
            )
