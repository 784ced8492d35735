"""Config keys of the evaluation: recall by object size and the COCO implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from scb_d2.errors import ConfigError
from scb_d2.utils.size_groups import SIZE_EDGES

from .recall import RecallSettings
from .size_bins import SizeBins

__all__ = ["add_evaluation_config", "recall_settings"]


def add_evaluation_config(cfg: CfgNode) -> None:
    """Add the keys of the evaluation to a Detectron2 config, in place."""
    cfg.TEST.RECALL = CfgNode()
    # Recall by object size after every evaluation, in the results under "recall".
    cfg.TEST.RECALL.ENABLED = False
    # A detection finds an object from this IoU on.
    cfg.TEST.RECALL.IOU = 0.5
    # A detection counts from these scores on (the paper's tables 3, 4 and 6 to 9). Detections below
    # the model's own score threshold do not exist: MODEL.RETINANET.SCORE_THRESH_TEST and the like.
    cfg.TEST.RECALL.THRESHOLDS = [0.01, 0.1, 0.3]
    # Recall also where the run makes this many false positives per image.
    cfg.TEST.RECALL.FP_PER_IMAGE = [0.1, 1.0, 10.0]
    # "greedy": one-to-one by score within a class (COCO). "any": an IoU with any box of the image
    # (the paper's wording).
    cfg.TEST.RECALL.MATCH = "greedy"
    # Size of an object: "annotation", its area in native pixels; "box", its box in native pixels;
    # "input", its box in network-input pixels.
    cfg.TEST.RECALL.AREA = "annotation"
    # Inner limits of the size bins in square pixels.
    cfg.TEST.RECALL.AREA_EDGES = list(SIZE_EDGES)
    # Most detections per image and class; 0: all that the model gives.
    cfg.TEST.RECALL.MAX_DETECTIONS = 0
    # "pycocotools", "faster_coco_eval", or "auto": the faster where it is installed.
    cfg.TEST.COCO_BACKEND = "auto"


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
