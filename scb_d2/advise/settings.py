"""What findings ask of a config, by one set of names for YAML configs and LazyConfigs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from scb_d2.engine.config.load import find_config_file, merge_config
from scb_d2.evaluation.build import evaluator_type

from .finding import Change, Setting
from .lazy_settings import LazySettings

__all__ = ["YamlSettings", "kind_of", "load_settings", "value_text"]

_COMMON = {
    "detections_per_image": "TEST.DETECTIONS_PER_IMAGE",
    "coco_max_dets": "TEST.COCO_MAX_DETS_PER_IMAGE",
    "filter_empty": "DATALOADER.FILTER_EMPTY_ANNOTATIONS",
    "sampler": "DATALOADER.SAMPLER_TRAIN",
    "repeat_threshold": "DATALOADER.REPEAT_THRESHOLD",
    "weights": "MODEL.WEIGHTS",
    "freeze_at": "MODEL.BACKBONE.FREEZE_AT",
    "learning_rate": "SOLVER.BASE_LR",
    "batch": "SOLVER.IMS_PER_BATCH",
    "reference_world_size": "SOLVER.REFERENCE_WORLD_SIZE",
    "fpn_norm": "MODEL.FPN.NORM",
    "clip_gradients": "SOLVER.CLIP_GRADIENTS.ENABLED",
    "iterations": "SOLVER.MAX_ITER",
    "steps": "SOLVER.STEPS",
    "scb_enabled": "MODEL.SCB.ENABLED",
    "low_quality": "MODEL.SCB.LOW_QUALITY",
    "recall_thresholds": "TEST.RECALL.THRESHOLDS",
}
_RESIZE = {
    "short_edges_train": "INPUT.MIN_SIZE_TRAIN",
    "long_edge_train": "INPUT.MAX_SIZE_TRAIN",
    "short_edge_test": "INPUT.MIN_SIZE_TEST",
    "long_edge_test": "INPUT.MAX_SIZE_TEST",
}
_DEFAULT_ANCHORS = {
    "anchor_sizes": "MODEL.ANCHOR_GENERATOR.SIZES",
    "anchor_ratios": "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
}
_RPN = {
    **_RESIZE,
    **_DEFAULT_ANCHORS,
    "pre_nms_topk_train": "MODEL.RPN.PRE_NMS_TOPK_TRAIN",
    "pre_nms_topk_test": "MODEL.RPN.PRE_NMS_TOPK_TEST",
    "post_nms_topk_train": "MODEL.RPN.POST_NMS_TOPK_TRAIN",
    "post_nms_topk_test": "MODEL.RPN.POST_NMS_TOPK_TEST",
    "rpn_batch": "MODEL.RPN.BATCH_SIZE_PER_IMAGE",
    "rpn_positive_fraction": "MODEL.RPN.POSITIVE_FRACTION",
}
_OF_KIND = {
    "retinanet": {
        **_RESIZE,
        **_DEFAULT_ANCHORS,
        "nms_threshold": "MODEL.RETINANET.NMS_THRESH_TEST",
        "score_threshold": "MODEL.RETINANET.SCORE_THRESH_TEST",
        "candidates": "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
    },
    "rpn": _RPN,
    "rcnn": {
        **_RPN,
        "nms_threshold": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
        "score_threshold": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
        "roi_batch": "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE",
        "roi_positive_fraction": "MODEL.ROI_HEADS.POSITIVE_FRACTION",
    },
    "ssd": {
        "ssd_min_sizes": "MODEL.SSD.MIN_SIZES",
        "ssd_max_sizes": "MODEL.SSD.MAX_SIZES",
        "ssd_ratios": "MODEL.SSD.ASPECT_RATIOS",
        "nms_threshold": "MODEL.SSD.NMS_THRESH_TEST",
        "score_threshold": "MODEL.SSD.SCORE_THRESH_TEST",
    },
    "fcos": dict(_RESIZE),
    "other": dict(_RESIZE),
}
_COCO = ("coco", "coco_panoptic_seg")
_DENSE = {"retinanet": "RetinaNet", "fcos": "FCOS"}


class YamlSettings:
    """Settings of a YAML config."""

    suffix = ".yaml"

    def __init__(self, cfg: CfgNode, kind: str, path: str):
        """Take a loaded config.

        Args:
            cfg: the whole config.
            kind: from :func:`kind_of`.
            path: its file.
        """
        self.cfg, self.kind, self.path = cfg, kind, path
        self._keys = {**_COMMON, **_OF_KIND[kind]}

    def find(self, name: str) -> Setting | None:
        """A setting by its name here; None where the config has no such thing."""
        key = self._keys.get(name)
        if key is None or not self._applies(name):
            return None
        return Setting(key, _plain(self.value(key)))

    def value(self, key: str) -> Any:
        """Value of a dotted key."""
        value: Any = self.cfg
        for part in key.split("."):
            value = value[part]
        return value

    def frozen_norms(self) -> list[str]:
        """Keys whose FrozenBN takes statistics and scales from the weights that are loaded."""
        has_key = "resnet" in self.cfg.MODEL.BACKBONE.NAME
        frozen = has_key and self.cfg.MODEL.RESNETS.NORM == "FrozenBN"
        return ["MODEL.RESNETS.NORM"] if frozen else []

    def enable_scb(self, reason: str, low_quality: str | None = None) -> tuple[Change, ...]:
        """Changes that weight the first stage."""
        changes = (Change("MODEL.SCB.ENABLED", True, reason),)
        if low_quality is not None:
            changes += (Change("MODEL.SCB.LOW_QUALITY", low_quality, "one anchor where many tie"),)
        return changes

    def overrides(self, changes: Sequence[Change]) -> list[str]:
        """Changes as a command line takes them."""
        return [text for c in changes for text in (c.key, value_text(c.value))]

    def _applies(self, name: str) -> bool:
        if name == "freeze_at":
            return "resnet" in self.cfg.MODEL.BACKBONE.NAME
        if name in ("detections_per_image", "coco_max_dets") and self.kind == "rpn":
            return False
        if name == "coco_max_dets":
            tests = self.cfg.DATASETS.TEST
            return not tests or any(evaluator_type(test) in _COCO for test in tests)
        if name == "recall_thresholds":
            return bool(self.cfg.TEST.RECALL.ENABLED)
        return True


def kind_of(model: nn.Module) -> str:
    """Family of detectors whose keys a config has: a key of the tables above.

    Args:
        model: a detector, as built.
    """
    if getattr(model, "proposal_generator", None) is not None:
        return "rcnn" if hasattr(model, "roi_heads") else "rpn"
    generator = type(getattr(model, "anchor_generator", None)).__name__
    if generator == "SSDAnchorGenerator":
        return "ssd"
    names = {cls.__name__ for cls in type(model).__mro__}
    return next((k for k, name in _DENSE.items() if name in names), "other")


def load_settings(
    config_file: str, opts: Sequence[str], model: nn.Module
) -> YamlSettings | LazySettings:
    """Settings of the config that a detector was built from, as written: for any machine.

    Args:
        config_file: YAML or LazyConfig ``.py``; a path or a name of Detectron2's model zoo.
        opts: overrides, as for ``train_net.py``.
        model: the detector, on the CPU.

    Raises:
        UserError: one sentence that names the key or file.
    """
    path = find_config_file(config_file)
    kind = kind_of(model)
    if path.endswith(".py"):
        return LazySettings.load(path, list(opts), kind, model)
    return YamlSettings(merge_config(path, opts), kind, path)


def value_text(value: Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) and value else repr(value)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
