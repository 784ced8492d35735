"""Recall by object size as a Detectron2 evaluator, for COCO, VOC and other box data sets."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import detectron2.utils.comm as comm
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json

from scb_d2.data.reader.catalog import records_of
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import coco_of, columns_of
from scb_d2.errors import ConfigError, DataError
from scb_d2.utils.files import atomic_write
from scb_d2.utils.plain_json import to_json

from .recall import RecallSettings, evaluate_recall, flat_metrics
from .recall_report import recall_markdown
from .size_bins import SizeBins

__all__ = ["RecallBySizeEvaluator", "recall_settings"]


class RecallBySizeEvaluator(DatasetEvaluator):
    """Recall of small, medium and large objects at confidence thresholds, with its cost.

    Prints a table that names its rules and returns `{"recall": {...}}` with the flat numbers of
    :func:`scb_d2.evaluation.recall.flat_metrics`, in percent. No detections at all give recall 0.

    With `output_dir` it writes `<dataset>_recall.json`, every number and rule. For a data set
    without COCO file (PASCAL VOC) it also writes `coco_annotations.json` and
    `coco_instances_results.json`, which `scb-d2 recall` and `scb-d2 compare` read.
    """

    def __init__(
        self,
        dataset_name: str,
        settings: RecallSettings | None = None,
        *,
        distributed: bool = True,
        output_dir: str | None = None,
    ) -> None:
        """Read the annotations.

        Args:
            dataset_name: a registered data set.
            settings: what is measured; :class:`RecallSettings` by default.
            distributed: whether to gather the detections of all ranks.
            output_dir: where files are written, if anywhere.
        """
        self._logger = logging.getLogger(__name__)
        self._dataset_name = dataset_name
        self._settings = settings or RecallSettings()
        self._distributed = distributed
        self._output_dir = Path(output_dir) if output_dir else None
        records = records_of(dataset_name)
        self._ground_truth = columns_of(records)
        # Kept where no file holds them.
        has_file = MetadataCatalog.get(dataset_name).get("json_file")
        self._annotations = None if has_file else coco_of(records)
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
    ) -> RecallBySizeEvaluator:
        """Build from the keys under `TEST.RECALL`."""
        return cls(dataset_name, recall_settings(cfg), output_dir=output_dir)

    def reset(self) -> None:
        self._results: list[dict[str, Any]] = []
        self._area_scales: dict[int | str, float] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        for image, output in zip(inputs, outputs, strict=True):
            if "instances" not in output:
                raise ConfigError(
                    "TEST.RECALL.ENABLED: recall is of detections; the model gives "
                    f"{', '.join(output)} and no instances."
                )
            image_id = image["image_id"]
            instances = output["instances"].to(torch.device("cpu"))
            if instances.has("pred_masks"):
                instances.remove("pred_masks")
            self._results += instances_to_coco_json(instances, image_id)
            height, width = image["image"].shape[-2:]
            native = image.get("height", height) * image.get("width", width)
            self._area_scales[image_id] = height * width / native

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Results of all images, on the main process; `{}` on the others."""
        results, area_scales = self._results, self._area_scales
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather((results, area_scales), dst=0)
            if not comm.is_main_process():
                return {}
            results = list(itertools.chain.from_iterable(part for part, _ in gathered))
            area_scales = {key: value for _, part in gathered for key, value in part.items()}
        if not results:
            self._logger.warning("%s: nothing was detected, recall is 0.", self._dataset_name)

        category_ids = self._ground_truth.category_ids
        results = [{**row, "category_id": category_ids[row["category_id"]]} for row in results]
        result = evaluate_recall(
            self._ground_truth,
            load_detections(results, self._ground_truth, f"detections on {self._dataset_name}"),
            self._settings,
            area_scales=self._scales(area_scales),
        )
        self._logger.info("\n%s", recall_markdown(result, self._dataset_name))
        if self._output_dir:
            self._write(result, results)
        return OrderedDict(recall=flat_metrics(result))

    def _scales(self, area_scales: dict[int | str, float]) -> np.ndarray | None:
        if self._settings.area != "input":
            return None
        image_ids = self._ground_truth.image_ids
        missing = [image for image in image_ids if image not in area_scales]
        if missing:
            raise DataError(
                f"{self._dataset_name}: image {missing[0]!r} was not evaluated, so its size at "
                "network input is unknown (TEST.RECALL.AREA 'input')."
            )
        return np.array([area_scales[image] for image in image_ids])

    def _write(self, result: dict[str, Any], results: list[dict[str, Any]]) -> None:
        self._output_dir.mkdir(parents=True, exist_ok=True)
        files = {f"{self._dataset_name}_recall.json": result}
        if self._annotations is not None:
            files["coco_annotations.json"] = self._annotations
            files["coco_instances_results.json"] = results
        for name, content in files.items():
            with atomic_write(self._output_dir / name, encoding="utf-8") as file:
                file.write(to_json(content))


def recall_settings(cfg: CfgNode) -> RecallSettings:
    """The settings that `TEST.RECALL` describes.

    Raises:
        ConfigError: a value is of the wrong type or out of range; the sentence names the key.
    """
    node = cfg.TEST.RECALL
    limit = node.MAX_DETECTIONS
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ConfigError(f"TEST.RECALL.MAX_DETECTIONS: must be an integer >= 0, not {limit!r}.")
    try:
        return RecallSettings(
            iou=_floats([node.IOU], "IOU")[0],
            thresholds=_floats(node.THRESHOLDS, "THRESHOLDS"),
            fp_per_image=_floats(node.FP_PER_IMAGE, "FP_PER_IMAGE"),
            match=node.MATCH,
            area=node.AREA,
            bins=SizeBins(_floats(node.AREA_EDGES, "AREA_EDGES")),
            max_detections=limit or None,
        )
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith("TEST.") else f"TEST.RECALL: {text}") from None


def _floats(values: Any, key: str) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        values = [values]
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(f"TEST.RECALL.{key}: must hold numbers, not {value!r}.")
    return tuple(float(value) for value in values)
