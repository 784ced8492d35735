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
from .from_config import matches_by_atss

__all__ = ["build_model", "scale_balanced_config"]

logger = logging.getLogger(__name__)

META_ARCHITECTURES = {"RetinaNet": "ScaleBalancedRetinaNet"}
"""Stock meta-architecture -> ours, for those that label anchors themselves."""

PROPOSAL_GENERATORS = {"RPN": "ScaleBalancedRPN", "RRPN": "ScaleBalancedRRPN"}
"""Stock proposal generator -> ours."""

ROI_HEADS = {
    "CascadeROIHeads": "ScaleBalancedCascadeROIHeads",
    "RROIHeads": "ScaleBalancedRROIHeads",
    "Res5ROIHeads": "ScaleBalancedRes5ROIHeads",
    "StandardROIHeads": "ScaleBalancedStandardROIHeads",
}
"""Stock ROI heads -> ours."""

ROTATED = ("RRPN", "RROIHeads")
"""Those that need Detectron2's compiled operators."""


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
    _check_operators(cfg)
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


def _parts(cfg: CfgNode) -> list[tuple[str, CfgNode, str, Registry, dict[str, str]]]:
    """The parts of a model that may have a stage of their own.

    Each as (config key, node that holds it, last part of the key, registry, stock name -> ours).
    """
    model = cfg.MODEL
    parts = [
        (
            "MODEL.META_ARCHITECTURE",
            model,
            "META_ARCHITECTURE",
            META_ARCH_REGISTRY,
            META_ARCHITECTURES,
        )
    ]
    architecture = _registered(META_ARCH_REGISTRY, model.META_ARCHITECTURE)
    if _is_subclass(architecture, (GeneralizedRCNN, ProposalNetwork)):
        node, registry = model.PROPOSAL_GENERATOR, PROPOSAL_GENERATOR_REGISTRY
        parts.append(("MODEL.PROPOSAL_GENERATOR.NAME", node, "NAME", registry, PROPOSAL_GENERATORS))
    if _is_subclass(architecture, GeneralizedRCNN):
        parts.append(
            ("MODEL.ROI_HEADS.NAME", model.ROI_HEADS, "NAME", ROI_HEADS_REGISTRY, ROI_HEADS)
        )
    return parts


def _check_names(cfg: CfgNode) -> None:
    """Refuse unknown parts, of which nobody could say what stages they have."""
    for label, node, key, registry, _ in _parts(cfg)[1:]:
        if node[key] not in registry and node[key] != "PrecomputedProposals":
            raise ConfigError(unknown_class(label, node[key], registry))


def _swap_names(cfg: CfgNode, chosen: set[str]) -> set[str]:
    """Replace names in place; return the stages that the architecture can weight."""
    available = set()
    for _, node, key, registry, twins in _parts(cfg):
        twin = node[key] if _lacks_operators(node[key]) else twins.get(node[key], node[key])
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
    classes = [_registered(registry, node[key]) for _, node, key, registry, _ in swapped]
    if not any(getattr(known, "takes_anchor_matcher", False) for known in classes):
        raise ConfigError(
            f"MODEL.ANCHOR_MATCHER.NAME is 'atss', but {_named(parts)} matches no anchors by a "
            "matcher that could be replaced; RetinaNet and RPN do."
        )


def _named(parts: list[tuple]) -> str:
    return " with ".join(f"{label} {node[key]!r}" for label, node, key, _, _ in parts)


def _lacks_operators(name: str) -> bool:
    return name in ROTATED and not _has_operators()


def _has_operators() -> bool:
    try:
        from detectron2 import _C  # noqa: F401
    except ImportError:
        return False
    return True


def _supported() -> str:
    ours = {name for name, known in META_ARCH_REGISTRY if getattr(known, "scb_stages", ())}
    two_stage = ("GeneralizedRCNN", "PanopticFPN", "ProposalNetwork")
    return (
        f"the meta-architectures {', '.join(sorted(ours | set(META_ARCHITECTURES)))}; and "
        f"{', '.join(two_stage)} with the proposal generator {_listed(PROPOSAL_GENERATORS)} "
        f"(first stage) or the ROI heads {_listed(ROI_HEADS)} (second stage)"
    )


def _listed(twins: dict[str, str]) -> str:
    return ", ".join(name for name in twins if not _lacks_operators(name))


def _check_operators(cfg: CfgNode) -> None:
    """Refuse deformable convolution where Detectron2 could only fail while it builds the model."""
    deformable = any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE)
    if not deformable or "resnet" not in cfg.MODEL.BACKBONE.NAME:
        return
    if not _has_operators():
        raise ConfigError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE asks for deformable convolution, but the installed "
            "Detectron2 lacks its compiled operators; build it from source (make env "
            "DETECTRON2=git), or set DEFORM_ON_PER_STAGE to [False, False, False, False]."
        )
