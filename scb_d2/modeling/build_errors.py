"""What is wrong with a config whose model cannot be built, as one sentence that names the key."""

import difflib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    Backbone,
    build_backbone,
)
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.utils.registry import Registry
from torch import nn

from scb_d2.errors import ConfigError, UserError

__all__ = ["CLASS_KEYS", "check_features", "readable_build_errors", "unknown_class"]

CLASS_KEYS: dict[str, Registry] = {
    "META_ARCHITECTURE": META_ARCH_REGISTRY,
    "BACKBONE.NAME": BACKBONE_REGISTRY,
    "PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    "RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
    "ROI_MASK_HEAD.NAME": ROI_MASK_HEAD_REGISTRY,
    "ROI_KEYPOINT_HEAD.NAME": ROI_KEYPOINT_HEAD_REGISTRY,
    "SEM_SEG_HEAD.NAME": SEM_SEG_HEADS_REGISTRY,
}
"""Keys below ``MODEL`` that name a class."""

_FEATURE_KEYS = ("RETINANET", "RPN", "ROI_HEADS", "SSD")
_FEATURE_ATTRIBUTES = (
    "head_in_features",
    "proposal_generator.in_features",
    "roi_heads.in_features",
    "roi_heads.box_in_features",
)
_RESNET_MAPS = ("stem", "res2", "res3", "res4", "res5")
_RESNET_DEPTHS = (18, 34, 50, 101, 152)
_LIBRARIES = ("contextlib", "detectron2", "fvcore", "scb_d2", "torch")


@contextmanager
def readable_build_errors(cfg: CfgNode) -> Iterator[None]:
    """Turn what Detectron2 raises on a wrong config into :class:`ConfigError` while it builds.

    Errors from code that is neither Detectron2's nor ours pass as they are.

    Args:
        cfg: what the model is built from.
    """
    try:
        yield
    except UserError:
        raise
    except (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        sentence = _sentence(cfg, error)
        if sentence is None:
            raise
        raise ConfigError(sentence) from error


def check_features(model: nn.Module) -> None:
    """Check that the backbone of a detector gives the features that its parts take.

    For models that were built from their parts, as by LazyConfig; a config is checked while
    :func:`scb_d2.build_model` builds its model.

    Raises:
        ConfigError: naming the part, the feature and what the backbone gives.
    """
    if not isinstance(backbone := getattr(model, "backbone", None), Backbone):
        return
    given = list(backbone.output_shape())
    for name in _FEATURE_ATTRIBUTES:
        part: Any = model
        for attribute in name.split("."):
            part = getattr(part, attribute, None)
        for feature in part or ():
            if feature not in given:
                raise ConfigError(
                    f"model.{name} names the feature {feature!r}, but model.backbone gives "
                    f"{', '.join(given)}."
                )


def unknown_class(key: str, name: str, registry: Registry) -> str:
    """A sentence for a name that is not in its registry.

    Args:
        key: the config key that holds it.
        name: its value.
        registry: of the names that are allowed.
    """
    known = sorted(known for known, _ in registry)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{key} must name one of {', '.join(known)}; got {name!r}{hint}."


def _sentence(cfg: CfgNode, error: Exception) -> str | None:
    text = str(error.args[0]) if error.args else ""
    for key, registry in CLASS_KEYS.items():
        name = _value(cfg, key)
        if text == f"No object named '{name}' found in '{registry._name}' registry!":
            return unknown_class(f"MODEL.{key}", name, registry)
    sentence = _resnet_sentence(cfg, error)
    if sentence is None and isinstance(error, KeyError):
        sentence = _feature_sentence(cfg, text) or _norm_sentence(cfg, text)
    if sentence is None and "in anchor generator" in text:
        sentence = _anchor_sentence(cfg)
    if sentence is None and _is_of_libraries(error):
        sentence = f"the model of the config cannot be built: {_plain_sentence(error, text)}"
    return sentence


def _plain_sentence(error: Exception, text: str) -> str:
    """Detectron2's own words, or where it has none, what it asserts."""
    frames = traceback.extract_tb(error.__traceback__)
    at = next((x for x in reversed(frames) if "detectron2" in x.filename), frames[-1])
    place = "/".join(Path(at.filename).parts[-2:])
    reason = " ".join(text.split()).rstrip(".!")
    if isinstance(error, AssertionError) and len(reason.split()) < 3:
        asserted = (at.line or "").removeprefix("assert ").partition("  #")[0]
        found = f", found {reason}" if reason else ""
        return f"{place} requires {asserted}{found}."
    if isinstance(error, KeyError):
        reason = f"{reason} is unknown"
    return f"{reason} ({place})."


def _resnet_sentence(cfg: CfgNode, error: Exception) -> str | None:
    if "resnet" not in cfg.MODEL.BACKBONE.NAME:
        return None
    resnets = cfg.MODEL.RESNETS
    if not set(resnets.OUT_FEATURES) <= set(_RESNET_MAPS):
        return (
            f"MODEL.RESNETS.OUT_FEATURES must name maps of {', '.join(_RESNET_MAPS)}; got "
            f"{list(resnets.OUT_FEATURES)}."
        )
    if isinstance(error, KeyError) and error.args == (resnets.DEPTH,):
        depths = ", ".join(map(str, _RESNET_DEPTHS))
        return f"MODEL.RESNETS.DEPTH must be one of {depths}; got {resnets.DEPTH}."
    return None


def _feature_sentence(cfg: CfgNode, feature: str) -> str | None:
    """Whose feature it is that is not there."""
    try:
        with torch.device("meta"):
            given = list(build_backbone(cfg).output_shape())
    except KeyError:
        given, keys = list(cfg.MODEL.RESNETS.OUT_FEATURES), ["FPN"]
        giver = "MODEL.RESNETS.OUT_FEATURES"
    else:
        keys = [key for key in _FEATURE_KEYS if key in cfg.MODEL]
        giver = f"the backbone {cfg.MODEL.BACKBONE.NAME}"
    named = [key for key in keys if feature in cfg.MODEL[key].IN_FEATURES]
    if feature in given or not named:
        return None
    used = [key for key in named if _is_used(cfg, key)] or named
    return (
        f"MODEL.{used[0]}.IN_FEATURES names the feature {feature!r}, but {giver} gives "
        f"{', '.join(given)}."
    )


def _is_used(cfg: CfgNode, key: str) -> bool:
    """Whether the architecture reads ``IN_FEATURES`` of this group of keys, as far as one knows."""
    architecture = cfg.MODEL.META_ARCHITECTURE.lower()
    if key in ("RPN", "ROI_HEADS"):
        return "rcnn" in architecture or "panoptic" in architecture or "proposal" in architecture
    return architecture.endswith(key.lower())


def _norm_sentence(cfg: CfgNode, norm: str) -> str | None:
    for group, node in cfg.MODEL.items():
        if isinstance(node, CfgNode) and node.get("NORM") == norm:
            return f"MODEL.{group}.NORM names the unknown normalization {norm!r}."
    return None


def _anchor_sentence(cfg: CfgNode) -> str | None:
    group = "RETINANET" if _is_used(cfg, "RETINANET") else "RPN"
    features = list(cfg.MODEL[group].IN_FEATURES)
    if not features:
        return f"MODEL.{group}.IN_FEATURES must name one feature or more; got {features}."
    for name in ("SIZES", "ASPECT_RATIOS"):
        entries = cfg.MODEL.ANCHOR_GENERATOR[name]
        if len(entries) not in (1, len(features)) and not _are_numbers(entries):
            return (
                f"MODEL.ANCHOR_GENERATOR.{name} must have one entry, or one for each of the "
                f"{len(features)} MODEL.{group}.IN_FEATURES; got {len(entries)}."
            )
    return None


def _are_numbers(entries: Sequence[Any]) -> bool:
    return bool(entries) and not isinstance(entries[0], Sequence)


def _is_of_libraries(error: Exception) -> bool:
    """Whether nobody's own code took part."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in _frames(error))
    return all(module.partition(".")[0] in _LIBRARIES for module in modules)


def _frames(error: Exception) -> Iterator[tuple[Any, int]]:
    return traceback.walk_tb(error.__traceback__)


def _value(cfg: CfgNode, key: str) -> Any:
    value: Any = cfg.MODEL
    for part in key.split("."):
        value = value[part]
    return value
