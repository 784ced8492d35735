"""``MODEL.SCB.*``: the keys, their checks, and what detectors are built from them."""

import contextlib
import difflib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling.matcher import Matcher

from .data.config import add_data_config
from .engine.config.keys import add_engine_config
from .errors import ConfigError
from .evaluation.config import add_evaluation_config
from .loss.loss_weighting import LOSS_NAMES, WEIGHT_NORMALIZERS
from .loss.match_statistics import MatchStatistics
from .loss.matching import COUNTS, LOW_QUALITY_RULES, MATCHING, ScaleBalancedMatcher
from .loss.object_weights import FORMS
from .loss.scale_balanced_weight import ScaleBalancedWeight
from .utils.arguments import check_choice, check_factor, check_names

__all__ = [
    "add_scb_config",
    "build_matcher",
    "is_weighted",
    "validate_config",
    "weighting_from_config",
]

STAGES = ("first", "second")
_PREFIX = "MODEL.SCB."


def add_scb_config(cfg: CfgNode) -> None:
    """Add the project's keys to a Detectron2 config, in place.

    From then on values merged into ``MODEL.SCB`` are checked as they come: integers pass for
    floats, a bare string for a tuple of one, anything else that does not fit raises
    :class:`scb_d2.errors.ConfigError`.

    Args:
        cfg: what ``detectron2.config.get_cfg()`` returns, or a clone of it.
    """
    if "SCB" in cfg.MODEL:
        return
    node = CfgNode()
    # Scale-balanced loss (Shuang et al. 2021) on any supported architecture, stock names included.
    node.ENABLED = False
    # Stages whose positives are weighted. "first": RetinaNet, RPN, SSD family, RefineDet's ARM.
    # "second": ROI heads, RefineDet's ODM.
    node.STAGES = ("first",)
    # Weight W of an object that matched M anchors, each form times beta: "information"
    # (ln M + alpha) / M (equation 3), "inverse_sqrt" 1 / sqrt(M), "inverse" 1 / M, "inverse_log"
    # 1 / (ln M + alpha), "uniform" 1 (table 1).
    node.FORM = "information"
    # `alpha` and `beta` in the paper's equation 3. Finite, > 0.
    node.ALPHA = 1.0
    node.BETA = 3.0
    # Losses of a positive that the weight multiplies. Equation 2 weights both; the authors'
    # released code ("cls",).
    node.LOSSES = ("cls", "box")
    # What M counts where a stage samples: "matched" before sampling, "sampled" after it.
    node.COUNT = "matched"
    # Objects without a good anchor: "stock" as Detectron2, "reassign" gives each one anchor.
    node.LOW_QUALITY = "stock"
    # How first stages match anchors: "blocks" in bounded memory, "table" as Detectron2, "auto"
    # whichever is not slower. The matches are the same.
    node.MATCHING = "auto"
    # "stock" leaves the weights; "mean_one" rescales a batch's positive weights to mean 1.
    node.NORMALIZER = "stock"
    # Iterations between two entries of the scb/* statistics.
    node.LOG_PERIOD = 20
    cfg.MODEL.SCB = node
    add_data_config(cfg)
    add_engine_config(cfg)
    add_evaluation_config(cfg)
    if type(cfg) is CfgNode:
        # yacs takes plain assignment for a config value.
        object.__setattr__(cfg, "__class__", _CheckedCfgNode)


class _CheckedCfgNode(CfgNode):
    """Detectron2's config, checking values for MODEL.SCB before yacs sees them.

    yacs refuses an integer for a float and names Python types where a user needs a key and its
    allowed values; it has no hook for a single key.
    """

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        # yacs compares the types of nodes, and those below the root are Detectron2's.
        return CfgNode._decode_cfg_value(value)

    def merge_from_other_cfg(self, cfg_other: CfgNode) -> None:
        other = CfgNode(cfg_other)
        model = other.get("MODEL")
        if isinstance(model, dict) and "SCB" in model:
            if not isinstance(model.SCB, dict):
                raise ConfigError(f"MODEL.SCB must hold keys and values; got {model.SCB!r}.")
            for key, value in model.SCB.items():
                model.SCB[key] = _checked(key, self._decode_cfg_value(value))
        super().merge_from_other_cfg(other)

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        checked = list(cfg_list)
        for i in range(0, len(checked) - 1, 2):
            key = str(checked[i])
            if key.startswith(_PREFIX):
                value = self._decode_cfg_value(checked[i + 1])
                checked[i + 1] = _checked(key.removeprefix(_PREFIX), value)
        super().merge_from_list(checked)


def _checked_switch(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False; got {value!r}.")
    return value


def _checked_number(value: object, name: str) -> float:
    if isinstance(value, str):  # "nan" and "inf" are no Python literals
        with contextlib.suppress(ValueError):
            value = float(value)
    return check_factor(value, name)


def _checked_period(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number of iterations above 0; got {value!r}.")
    return value


_CHECKS = {
    "ENABLED": _checked_switch,
    "STAGES": lambda value, name: check_names(value, STAGES, name),
    "FORM": lambda value, name: check_choice(value, tuple(FORMS), name),
    "ALPHA": _checked_number,
    "BETA": _checked_number,
    "LOSSES": lambda value, name: check_names(value, LOSS_NAMES, name),
    "COUNT": lambda value, name: check_choice(value, COUNTS, name),
    "LOW_QUALITY": lambda value, name: check_choice(value, LOW_QUALITY_RULES, name),
    "MATCHING": lambda value, name: check_choice(value, MATCHING, name),
    "NORMALIZER": lambda value, name: check_choice(value, WEIGHT_NORMALIZERS, name),
    "LOG_PERIOD": _checked_period,
}


def _checked(key: str, value: object) -> Any:
    if key not in _CHECKS:
        near = difflib.get_close_matches(key, _CHECKS, n=1)
        hint = f" Did you mean {_PREFIX}{near[0]}?" if near else ""
        raise ConfigError(f"{_PREFIX}{key} is not a key; there are {', '.join(_CHECKS)}.{hint}")
    return _CHECKS[key](value, _PREFIX + key)


def validate_config(cfg: CfgNode) -> None:
    """Check every value of ``MODEL.SCB``, also those set as attributes.

    Raises:
        ConfigError: naming the key, what was found and what is allowed.
    """
    _settings(cfg)


def _settings(cfg: CfgNode) -> SimpleNamespace:
    if "SCB" not in cfg.MODEL:
        raise ConfigError("the config has no MODEL.SCB; call scb_d2.add_scb_config(cfg) first.")
    return SimpleNamespace(**{key: _checked(key, value) for key, value in cfg.MODEL.SCB.items()})


def is_weighted(cfg: CfgNode, stage: str) -> bool:
    """Whether the config weights the losses of ``stage`` (``"first"`` or ``"second"``).

    A config without ``MODEL.SCB``, for example from Detectron2's own tests, weights nothing.
    """
    if "SCB" not in cfg.MODEL:
        return False
    scb = _settings(cfg)
    return scb.ENABLED and stage in scb.STAGES


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
    scb = _settings(cfg)
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
    stage: str,
    thresholds: Sequence[float],
    labels: Sequence[int],
    allow_low_quality_matches: bool,
) -> Matcher:
    """The matcher of a stage, by ``MODEL.SCB.LOW_QUALITY`` and ``MATCHING`` where it is weighted.

    Args:
        cfg: a config with ``MODEL.SCB``.
        stage: ``"first"`` or ``"second"``.
        thresholds: as in Detectron2's matcher.
        labels: as in Detectron2's matcher.
        allow_low_quality_matches: as in Detectron2's matcher.
    """
    if not is_weighted(cfg, stage):
        return ScaleBalancedMatcher(thresholds, labels, allow_low_quality_matches)
    scb = cfg.MODEL.SCB
    return ScaleBalancedMatcher(
        thresholds, labels, allow_low_quality_matches, scb.LOW_QUALITY, scb.MATCHING
    )
