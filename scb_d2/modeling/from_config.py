"""What detectors are built from ``MODEL.SCB``: weights, losses, statistics and matchers."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling.matcher import Matcher
from torch import nn

from scb_d2.config import scb_settings
from scb_d2.errors import ConfigError
from scb_d2.loss.atss_matching import ATSSMatcher
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.object_weights import ScaleBalancedWeight
from scb_d2.loss.scale_balanced_matcher import ScaleBalancedMatcher

__all__ = ["build_matcher", "is_weighted", "matches_by_atss", "weighting_from_config"]


def is_weighted(cfg: CfgNode, stage: str) -> bool:
    """Whether the config weights the losses of ``stage`` (``"first"`` or ``"second"``).

    A config without ``MODEL.SCB``, for example from Detectron2's own tests, weights nothing.
    """
    if "SCB" not in cfg.MODEL:
        return False
    scb = scb_settings(cfg)
    return scb.ENABLED and stage in scb.STAGES


def matches_by_atss(cfg: CfgNode) -> bool:
    """Whether the config replaces Detectron2's anchor matcher, weighted or not."""
    return "ANCHOR_MATCHER" in cfg.MODEL and cfg.MODEL.ANCHOR_MATCHER.NAME == "atss"


def weighting_from_config(
    cfg: CfgNode, stage: str, *, samples: bool = False, substage: str = ""
) -> dict[str, Any]:
    """Constructor arguments that every scale-balanced detector or stage takes.

    Args:
        cfg: a config, with ``MODEL.SCB`` or without.
        stage: ``"first"`` or ``"second"``.
        samples: whether the stage samples what it matched and so takes ``match_count`` too.
        substage: what statistics append to the name of the stage.

    Returns:
        ``object_weight`` (None where the loss is off or the stage is not chosen),
        ``weighted_losses``, ``weight_normalizer``, ``statistics`` and, if asked for,
        ``match_count``. Nothing from a config without ``MODEL.SCB``.
    """
    if "SCB" not in cfg.MODEL:
        return {}
    scb = scb_settings(cfg)
    weight = ScaleBalancedWeight(scb.FORM, scb.ALPHA, scb.BETA) if is_weighted(cfg, stage) else None
    arguments = {
        "object_weight": weight,
        "weighted_losses": scb.LOSSES,
        "weight_normalizer": scb.NORMALIZER,
        "statistics": MatchStatistics(stage + substage, scb.LOG_PERIOD, cfg.SOLVER.MAX_ITER),
    }
    return {**arguments, "match_count": scb.COUNT} if samples else arguments


def build_matcher(
    cfg: CfgNode,
    thresholds: Sequence[float],
    labels: Sequence[int],
    allow_low_quality_matches: bool,
    anchor_generator: nn.Module,
) -> Matcher | ATSSMatcher:
    """The matcher of a first stage, by ``MODEL.ANCHOR_MATCHER`` and ``MODEL.SCB.LOW_QUALITY``.

    Args:
        cfg: a config, with the project's keys or without.
        thresholds: as in Detectron2's matcher.
        labels: as in Detectron2's matcher.
        allow_low_quality_matches: as in Detectron2's matcher.
        anchor_generator: of the stage.

    Raises:
        ConfigError: if the two keys contradict each other.
    """
    low_quality = cfg.MODEL.SCB.LOW_QUALITY if is_weighted(cfg, "first") else "stock"
    if not matches_by_atss(cfg):
        return ScaleBalancedMatcher(
            list(thresholds), list(labels), allow_low_quality_matches, low_quality
        )
    if low_quality != "stock":
        raise ConfigError(
            f"MODEL.SCB.LOW_QUALITY {low_quality!r} does not go with MODEL.ANCHOR_MATCHER.NAME "
            "'atss', which has no rule for low-quality matches; set it to 'stock'."
        )
    return ATSSMatcher(
        cfg.MODEL.ANCHOR_MATCHER.NUM_CANDIDATES, anchor_generator.num_cell_anchors[0]
    )
