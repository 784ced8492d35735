"""From a config to a model: stock names in, scale-balanced classes out."""

import logging

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, ProposalNetwork
from detectron2.modeling import build_model as build_stock_model
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.utils.registry import Registry
from torch import nn

from scb_d2.config import STAGES, validate_config
from scb_d2.errors import ConfigError
from scb_d2.utils.arguments import check_names

from .class_names import unknown_class
from .compiled_operators import check_operators
from .from_config import matches_by_atss
from .stock_classes import twins

__all__ = ["build_model", "scale_balanced_config"]

logger = logging.getLogger(__name__)


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model of a config, like :func:`detectron2.modeling.build_model`.

    Without ``MODEL.SCB.ENABLED`` that is exactly what Detectron2 builds.

    Raises:
        ConfigError: if a value of ``MODEL.SCB`` is not allowed, the architecture has none of the
            stages that it names, or needs operators that this Detectron2 lacks. What Detectron2
            raises on its own keys passes; commands explain it, see
            :mod:`scb_d2.engine.config.explain`.
    """
    return build_stock_model(scale_balanced_config(cfg))


def scale_balanced_config(cfg: CfgNode) -> CfgNode:
    """The same config with stock class names replaced by their scale-balanced counterparts.

    A registered class that declares its stages in an attribute ``scb_stages`` is taken as it is. A
    stage that is not chosen keeps its stock class, but for a first stage that matches by ATSS.

    Returns:
        ``cfg`` itself where there is nothing to replace, else a clone.

    Raises:
        ConfigError: see :func:`build_model`.
    """
    validate_config(cfg)
    check_operators(cfg)
    weighted, by_atss = cfg.MODEL.SCB.ENABLED, matches_by_atss(cfg)
    if not (weighted or by_atss):
        return cfg
    chosen = check_names(cfg.MODEL.SCB.STAGES, STAGES, "MODEL.SCB.STAGES") if weighted else ()
    _check_names(cfg)
    swapped = cfg.clone()
    swapped.defrost()
    available = _swap_names(swapped, {*chosen, "first"} if by_atss else set(chosen))
    if weighted:
        _check_stages(chosen, available, _parts(cfg))
    if by_atss:
        _check_matcher(_parts(swapped), _parts(cfg))
    swapped.freeze()
    return swapped


def _parts(cfg: CfgNode) -> list[tuple[str, CfgNode, str, Registry]]:
    """The parts of a model that may have a stage of their own.

    Each as (config key, node that holds it, last part of the key, registry).
    """
    model = cfg.MODEL
    parts = [("MODEL.META_ARCHITECTURE", model, "META_ARCHITECTURE", META_ARCH_REGISTRY)]
    architecture = _registered(META_ARCH_REGISTRY, model.META_ARCHITECTURE)
    if _is_subclass(architecture, (GeneralizedRCNN, ProposalNetwork)):
        node, registry = model.PROPOSAL_GENERATOR, PROPOSAL_GENERATOR_REGISTRY
        parts.append(("MODEL.PROPOSAL_GENERATOR.NAME", node, "NAME", registry))
    if _is_subclass(architecture, GeneralizedRCNN):
        parts.append(("MODEL.ROI_HEADS.NAME", model.ROI_HEADS, "NAME", ROI_HEADS_REGISTRY))
    return parts


def _check_names(cfg: CfgNode) -> None:
    """Refuse unknown parts, of which nobody could say what stages they have."""
    for label, node, key, registry in _parts(cfg)[1:]:
        if node[key] not in registry and node[key] != "PrecomputedProposals":
            raise ConfigError(unknown_class(label, node[key], registry))


def _swap_names(cfg: CfgNode, chosen: set[str]) -> set[str]:
    """Replace names in place; return the stages that the architecture can weight."""
    available = set()
    for _, node, key, registry in _parts(cfg):
        twin = twins(registry).get(node[key], node[key])
        stages = set(getattr(_registered(registry, twin), "scb_stages", ()))
        available |= stages
        if stages.intersection(chosen):
            node[key] = twin
    return available


def _registered(registry: Registry, name: str) -> object | None:
    return registry.get(name) if name in registry else None


def _is_subclass(candidate: object | None, parents: type | tuple[type, ...]) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, parents)


def _check_stages(chosen: tuple[str, ...], available: set[str], parts: list[tuple]) -> None:
    named = _named(parts)
    if not available:
        raise ConfigError(
            f"MODEL.SCB.ENABLED is True, but the scale-balanced loss does not support {named}; it "
            f"supports {_supported()}."
        )
    missing = [stage for stage in chosen if stage not in available]
    if len(missing) == len(chosen):
        raise ConfigError(
            f"MODEL.SCB.STAGES is {chosen}, but {named} only has {', '.join(sorted(available))}."
        )
    if missing:
        logger.warning(
            "MODEL.SCB.STAGES names %s, which %s does not have; only %s is weighted.",
            ", ".join(missing),
            named,
            ", ".join(sorted(available.intersection(chosen))),
        )


def _check_matcher(swapped: list[tuple], parts: list[tuple]) -> None:
    classes = [_registered(registry, node[key]) for _, node, key, registry in swapped]
    if not any(getattr(known, "takes_anchor_matcher", False) for known in classes):
        raise ConfigError(
            f"MODEL.ANCHOR_MATCHER.NAME is 'atss', but {_named(parts)} matches no anchors by a "
            "matcher that could be replaced; RetinaNet and RPN do."
        )


def _named(parts: list[tuple]) -> str:
    return " with ".join(f"{label} {node[key]!r}" for label, node, key, _ in parts)


def _supported() -> str:
    first, second = twins(PROPOSAL_GENERATOR_REGISTRY), twins(ROI_HEADS_REGISTRY)
    ours = {name for name, known in META_ARCH_REGISTRY if getattr(known, "scb_stages", ())}
    ours |= set(twins(META_ARCH_REGISTRY))
    two_stage = ("GeneralizedRCNN", "PanopticFPN", "ProposalNetwork")
    return (
        f"the meta-architectures {', '.join(sorted(ours))}; and {', '.join(two_stage)} with the "
        f"proposal generator {', '.join(sorted(first))} (first stage) or the ROI heads "
        f"{', '.join(sorted(second))} (second stage)"
    )
