"""What findings ask of a LazyConfig, with the interface of the settings of YAML configs.

Keys are dotted; a number in one is an index. Values that a LazyConfig leaves to the default of a
class are read from the built detector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.lazy_file import run_lazy_file
from scb_d2.utils.hydra_text import hydra_text

from .finding import Change, Setting

__all__ = ["LazySettings"]

_AUGMENTATIONS = "dataloader.{}.mapper.augmentations"
_COMMON = {
    "coco_max_dets": ("dataloader.evaluator.max_dets_per_image", 100),
    "filter_empty": ("dataloader.train.dataset.filter_empty", True),
    "sampler": ("dataloader.train.sampler._target_", "TrainingSampler"),
    "batch": ("dataloader.train.total_batch_size", None),
    "learning_rate": ("optimizer.lr", None),
    "iterations": ("train.max_iter", None),
    "weights": ("train.init_checkpoint", ""),
    "fpn_norm": ("model.backbone.norm", ""),
}
# name -> key, attribute of the built model, index in it
_OF_MODEL: dict[str, dict[str, tuple[str, str, Any]]] = {
    "retinanet": {
        "detections_per_image": (
            "model.max_detections_per_image",
            "max_detections_per_image",
            None,
        ),
        "nms_threshold": ("model.test_nms_thresh", "test_nms_thresh", None),
        "score_threshold": ("model.test_score_thresh", "test_score_thresh", None),
        "candidates": ("model.test_topk_candidates", "test_topk_candidates", None),
    },
    "rcnn": {
        "detections_per_image": (
            "model.roi_heads.box_predictor.test_topk_per_image",
            "roi_heads.box_predictor.test_topk_per_image",
            None,
        ),
        "nms_threshold": (
            "model.roi_heads.box_predictor.test_nms_thresh",
            "roi_heads.box_predictor.test_nms_thresh",
            None,
        ),
        "score_threshold": (
            "model.roi_heads.box_predictor.test_score_thresh",
            "roi_heads.box_predictor.test_score_thresh",
            None,
        ),
        "pre_nms_topk_train": (
            "model.proposal_generator.pre_nms_topk.0",
            "proposal_generator.pre_nms_topk",
            True,
        ),
        "pre_nms_topk_test": (
            "model.proposal_generator.pre_nms_topk.1",
            "proposal_generator.pre_nms_topk",
            False,
        ),
        "post_nms_topk_train": (
            "model.proposal_generator.post_nms_topk.0",
            "proposal_generator.post_nms_topk",
            True,
        ),
        "post_nms_topk_test": (
            "model.proposal_generator.post_nms_topk.1",
            "proposal_generator.post_nms_topk",
            False,
        ),
        "rpn_batch": (
            "model.proposal_generator.batch_size_per_image",
            "proposal_generator.batch_size_per_image",
            None,
        ),
        "rpn_positive_fraction": (
            "model.proposal_generator.positive_fraction",
            "proposal_generator.positive_fraction",
            None,
        ),
        "roi_batch": (
            "model.roi_heads.batch_size_per_image",
            "roi_heads.batch_size_per_image",
            None,
        ),
        "roi_positive_fraction": (
            "model.roi_heads.positive_fraction",
            "roi_heads.positive_fraction",
            None,
        ),
    },
}
_OF_MODEL["fcos"] = _OF_MODEL["retinanet"]
_OF_MODEL["rpn"] = {
    name: place for name, place in _OF_MODEL["rcnn"].items() if "proposal_generator" in place[0]
}
_OWNER = {
    "retinanet": "model",
    "fcos": "model",
    "rcnn": "model.proposal_generator",
    "rpn": "model.proposal_generator",
}
_WEIGHTED = {
    "retinanet": "scb_d2.ScaleBalancedRetinaNet",
    "fcos": "scb_d2.ScaleBalancedFCOS",
    "rcnn": "scb_d2.ScaleBalancedRPN",
    "rpn": "scb_d2.ScaleBalancedRPN",
}


class LazySettings:
    """Settings of a LazyConfig."""

    suffix = ".py"

    def __init__(self, cfg: DictConfig, kind: str, model: nn.Module, path: str):
        """Take a loaded config.

        Args:
            cfg: the whole config.
            kind: from :func:`scb_d2.advise.settings.kind_of`.
            model: built from it, on the CPU.
            path: its file.
        """
        self.cfg, self.kind, self.model, self.path = cfg, kind, model, path

    @classmethod
    def load(cls, path: str, opts: list[str], kind: str, model: nn.Module) -> LazySettings:
        """Load the file again; it was valid when the model was built from it."""
        return cls(load_lazy_config(path, opts), kind, model, path)

    def find(self, name: str) -> Setting | None:
        """A setting by its name there; None where the config has no such thing."""
        found = self._find(name)
        return None if found is None else Setting(*found)

    def value(self, key: str) -> Any:
        """Value of a dotted key, None where the config leaves it out."""
        return _plain(OmegaConf.select(self.cfg, key))

    def frozen_norms(self) -> list[str]:
        """Keys whose FrozenBN takes statistics and scales from the weights that are loaded."""
        return [key for key, value in _named(self.cfg.model, "norm") if value == "FrozenBN"]

    def has_place(self, key: str) -> bool:
        """Whether the group that a dotted key stands in is there, so that the key can be set."""
        group = key.rpartition(".")[0]
        return not group or _there(self._as_written, group)

    @cached_property
    def _as_written(self) -> DictConfig:
        """The file alone, without overrides and defaults."""
        return run_lazy_file(self.path)

    def enable_scb(self, reason: str, low_quality: str | None = None) -> tuple[Change, ...]:
        """Changes that weight the first stage; none for classes that are not known here."""
        owner = _OWNER.get(self.kind)
        if owner is None:
            return ()
        weight = {"_target_": "scb_d2.ScaleBalancedWeight"}
        changes = (
            Change(f"{owner}._target_", _WEIGHTED[self.kind], reason),
            Change(f"{owner}.object_weight", weight, "the paper's weight, alpha 1 and beta 3"),
        )
        if low_quality is not None:
            matcher = f"{owner}.anchor_matcher"
            changes += (
                Change(f"{matcher}._target_", "scb_d2.ScaleBalancedMatcher", "for the next line"),
                Change(f"{matcher}.low_quality", low_quality, "one anchor where many tie"),
            )
        return changes

    def overrides(self, changes: Sequence[Change]) -> list[str]:
        """Changes as a command line takes them; `+` where the config leaves the key out."""
        return [
            f"{'' if _there(self.cfg, c.key) else '+'}{c.key}={hydra_text(c.value)}"
            for c in changes
        ]

    def _find(self, name: str) -> tuple[str, Any] | None:
        if name == "coco_max_dets" and not self._evaluates_coco():
            return None
        if name == "filter_empty" and not self._filters_empty():
            return None
        if name == "freeze_at":
            return next(_named(self.cfg.model, "freeze_at"), None)
        if name in _COMMON:
            key, default = _COMMON[name]
            value = self.value(key)
            value = default if value is None else value
            return None if value is None else (key, value)
        if name in _OF_MODEL.get(self.kind, {}):
            key, attribute, index = _OF_MODEL[self.kind][name]
            value: Any = self.model
            for part in attribute.split("."):
                value = getattr(value, part, None)
            value = value[index] if isinstance(value, dict) else value
            return None if value is None else (key, value)
        if name in ("anchor_sizes", "anchor_ratios"):
            part = {"anchor_sizes": "sizes", "anchor_ratios": "aspect_ratios"}[name]
            key = f"{_OWNER.get(self.kind, 'model')}.anchor_generator.{part}"
            value = self.value(key)
            return None if value is None else (key, value)
        if name == "num_anchors":
            key = f"{_OWNER.get(self.kind, 'model')}.head.num_anchors"
            value = self.value(key)
            return None if value is None else (key, value)
        if name == "scb_enabled":
            weighted = any(
                getattr(module, "object_weight", None) is not None
                for module in self.model.modules()
            )
            return "object_weight", weighted
        return self._resize(name)

    def _evaluates_coco(self) -> bool:
        evaluator = OmegaConf.select(self.cfg, "dataloader.evaluator")
        return self.kind != "rpn" and _class_name(evaluator).endswith("COCOEvaluator")

    def _filters_empty(self) -> bool:
        dataset = OmegaConf.select(self.cfg, "dataloader.train.dataset")
        return _class_name(dataset) == "get_detection_dataset_dicts"

    def _resize(self, name: str) -> tuple[str, Any] | None:
        """Sizes of the only ``ResizeShortestEdge`` of training or test."""
        part, _, split = name.rpartition("_")
        field = {"short_edges": "short_edge_length", "short_edge": "short_edge_length"}.get(
            part, "max_size" if part == "long_edge" else None
        )
        if field is None or split not in ("train", "test"):
            return None
        key = _AUGMENTATIONS.format(split)
        augmentations = OmegaConf.select(self.cfg, key) or []
        places = [i for i, a in enumerate(augmentations) if _is_resize(a)]
        if len(places) != 1:
            return None
        value = _plain(augmentations[places[0]].get(field))
        if value is None:
            return None
        if part == "short_edge" and isinstance(value, list):
            value = value[0]
        if part == "short_edges" and not isinstance(value, list):
            value = [value]
        return f"{key}.{places[0]}.{field}", value


def _named(node: Any, name: str, prefix: str = "model") -> Iterator[tuple[str, Any]]:
    """Dotted keys that end in a name, and their values, anywhere below a node."""
    if isinstance(node, DictConfig):
        items: Any = ((key, node._get_node(key)) for key in node)
    elif isinstance(node, ListConfig):
        items = ((str(i), node._get_node(i)) for i in range(len(node)))
    else:
        return
    for key, child in items:
        place = f"{prefix}.{key}"
        if key == name and not isinstance(child, DictConfig | ListConfig):
            yield place, OmegaConf.select(node, str(key))
        else:
            yield from _named(child, name, place)


def _is_resize(augmentation: Any) -> bool:
    return _class_name(augmentation) == "ResizeShortestEdge"


def _class_name(node: Any) -> str:
    """Name of the class that a node of a LazyConfig builds, "" where it builds none."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.rpartition(".")[2]


def _there(cfg: DictConfig, key: str) -> bool:
    return OmegaConf.select(cfg, key) is not None


def _plain(value: Any) -> Any:
    if isinstance(value, ListConfig | tuple | list):
        return [_plain(item) for item in value]
    return value
