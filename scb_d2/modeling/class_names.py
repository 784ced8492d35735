"""The config keys that name a class, and the names that each allows."""

import difflib

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
)
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.utils.registry import Registry

__all__ = ["CLASS_KEYS", "unknown_class"]

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
