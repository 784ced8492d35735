"""COCO's evaluation by hotcoco behind the interface of pycocotools."""

from __future__ import annotations

import logging
import os
from itertools import chain
from typing import Any

import hotcoco
import numpy as np
from pycocotools.cocoeval import COCOeval

from scb_d2.utils.garbage import collection_paused

__all__ = ["HotCOCOeval"]

logger = logging.getLogger(__name__)


class HotCOCOeval(COCOeval):
    """pycocotools' evaluation of boxes, masks and keypoints, matched and accumulated by hotcoco.

    The arrays of ``eval``, and so every number, equal those of pycocotools. Its table is printed by
    pycocotools. Annotations that hotcoco does not take, such as those with negative ids, are left
    to pycocotools, which is said once. With annotation id 0 hotcoco is right where pycocotools
    counts the object as unmatched. A forked process would wait for ever for hotcoco's threads,
    which it does not inherit: it uses pycocotools where its parent has used hotcoco.
    """

    _process: int | None = None  # that started hotcoco's threads

    def evaluate(self) -> None:
        self._hot = None
        HotCOCOeval._process = HotCOCOeval._process or os.getpid()
        if HotCOCOeval._process != os.getpid():
            super().evaluate()
            return
        try:
            evaluation = hotcoco.COCOeval(*self._as_hotcoco(), self.params.iouType)
        except (TypeError, ValueError) as error:
            logger.warning("hotcoco does not take these annotations (%s): pycocotools does.", error)
            super().evaluate()
            return
        params = self.params
        params.imgIds = sorted(set(params.imgIds))
        params.catIds = sorted(set(params.catIds))
        params.maxDets = sorted(params.maxDets)
        for name in ("imgIds", "catIds", "maxDets", "areaRng", "areaRngLbl"):
            setattr(evaluation.params, name, list(getattr(params, name)))
        for name in ("iouThrs", "recThrs"):
            setattr(evaluation.params, name, [float(x) for x in getattr(params, name)])
        evaluation.params.useCats = bool(params.useCats)
        if params.iouType == "keypoints":
            evaluation.params.kpt_oks_sigmas = [float(x) for x in params.kpt_oks_sigmas]
        evaluation.evaluate()
        self._hot = evaluation

    def accumulate(self, p: Any = None) -> None:
        if self._hot is None:
            super().accumulate(p)
            return
        self._hot.accumulate()
        arrays = {k: np.asarray(self._hot.eval[k]) for k in ("precision", "recall", "scores")}
        self.eval = {"params": self.params, "counts": list(arrays["precision"].shape), **arrays}

    def _as_hotcoco(self) -> tuple[hotcoco.COCO, hotcoco.COCO]:
        truth = hotcoco.COCO(self.cocoGt.dataset)
        found = self.cocoDt.dataset["annotations"]
        if self.params.iouType == "segm":
            # Of a detection with a box, both libraries would take the box's area for the mask's.
            found = [{key: x[key] for key in x if key not in ("area", "bbox")} for x in found]
        if self.params.iouType != "bbox" or not found:
            return truth, truth.load_res(found)
        with collection_paused():
            table = np.empty((len(found), 7))
            table[:, 0] = [x["image_id"] for x in found]
            boxes = chain.from_iterable(x["bbox"] for x in found)
            table[:, 1:5] = np.fromiter(boxes, np.float64, 4 * len(found)).reshape(-1, 4)
            table[:, 5] = [x["score"] for x in found]
            table[:, 6] = [x["category_id"] for x in found]
        return truth, truth.load_res(table)
