"""From a config to a model: stock names in, scale-balanced classes out."""

import logging

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling import build_model as build_stock_model
from detectron2.utils.registry import Registry
from torch import nn

from ..arguments import check_names
from ..config import STAGES, validate_config
from ..errors import ConfigError

__all__ = ["build_model", "scale_balanced_config"]

logger = logging.getLogger(__name__)

META_ARCHITECTURES = {"RetinaNet": "ScaleBalancedRetinaNet"}
"""Stock meta-architecture -> ours, for those that label anchors themselves."""


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model of a config, like :func:`detectron2.modeling.build_model`.

    Without ``MODEL.SCB.ENABLED`` that is exactly what Detectron2 builds.

    Raises:
        ConfigError: if a value of ``MODEL.SCB`` is not allowed, or the architecture has none of the
            stages that it names.
    """
    return build_stock_model(scale_balanced_config(cfg))


def scale_balanced_config(cfg: CfgNode) -> CfgNode:
    """The same config with stock class names replaced by their scale-balanced counterparts.

    Returns:
        ``cfg`` itself where ``MODEL.SCB.ENABLED`` is False, else a clone.

    Raises:
        ConfigError: see :func:`build_model`.
    """
    validate_config(cfg)
    if not cfg.MODEL.SCB.ENABLED:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    available = _swap_names(cfg)
    _check_stages(cfg, available)
    cfg.freeze()
    return cfg


def _swap_names(cfg: CfgNode) -> set[str]:
    """Replace names in place; return the stages that the architecture can weight."""
    name = cfg.MODEL.META_ARCHITECTURE
    cfg.MODEL.META_ARCHITECTURE = META_ARCHITECTURES.get(name, name)
    return _stages_of(META_ARCH_REGISTRY, cfg.MODEL.META_ARCHITECTURE)


def _stages_of(registry: Registry, name: str) -> set[str]:
    """Stages that a registered class declares in its attribute ``scb_stages``."""
    return set(getattr(registry.get(name), "scb_stages", ())) if name in registry else set()


def _check_stages(cfg: CfgNode, available: set[str]) -> None:
    name, chosen = cfg.MODEL.META_ARCHITECTURE, check_names(cfg.MODEL.SCB.STAGES, STAGES, "stages")
    if not available:
        raise ConfigError(
            f"MODEL.SCB.ENABLED is True, but the scale-balanced loss does not support "
            f"MODEL.META_ARCHITECTURE {name!r}; it supports {', '.join(_supported())}."
        )
    missing = [stage for stage in chosen if stage not in available]
    if len(missing) == len(chosen):
        raise ConfigError(
            f"MODEL.SCB.STAGES is {chosen}, but MODEL.META_ARCHITECTURE {name!r} only has "
            f"{', '.join(sorted(available))}."
        )
    if missing:
        logger.warning(
            "MODEL.SCB.STAGES names %s, which MODEL.META_ARCHITECTURE %r does not have; only %s "
            "is weighted.",
            ", ".join(missing),
            name,
            ", ".join(sorted(available & set(chosen))),
        )


def _supported() -> list[str]:
    ours = {name for name, _ in META_ARCH_REGISTRY if _stages_of(META_ARCH_REGISTRY, name)}
    return sorted(ours | set(META_ARCHITECTURES))
