"""COCO evaluation in which a model without any detection scores 0, not ``nan``."""

from typing import Any

from detectron2.evaluation import COCOEvaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scb_d2.engine.training.parts import WholeFiles

__all__ = ["ZeroAwareCOCOEvaluator"]


class ZeroAwareCOCOEvaluator(WholeFiles, COCOEvaluator):
    """Detectron2's COCO evaluator; no detections at all give AP 0 with the usual table.

    Sizes and classes without ground truth stay ``nan``, as they do with detections. Files are
    written whole.
    """

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: list[str] | None = None
    ) -> dict[str, Any]:
        if coco_eval is None:
            self._logger.warning("The model detects nothing: AP is 0.")
            coco_eval = self._evaluate_nothing(iou_type)
        return super()._derive_coco_results(coco_eval, iou_type, class_names)

    def _evaluate_nothing(self, iou_type: str) -> COCOeval:
        nothing = COCO()
        nothing.dataset = {**self._coco_api.dataset, "annotations": []}
        nothing.createIndex()
        coco_eval = COCOeval(self._coco_api, nothing, iou_type)
        if iou_type == "keypoints":
            if self._kpt_oks_sigmas:
                coco_eval.params.setKpParams()
                coco_eval.params.kpt_oks_sigmas = self._kpt_oks_sigmas
        else:
            coco_eval.params.maxDets = self._max_dets_per_image
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
        return coco_eval
