"""The public names of the package; ``import scb_d2`` loads them when the first of them is used.

Importing this module puts the scale-balanced detectors into Detectron2's registries.
"""

import warnings

with warnings.catch_warnings():
    # Detectron2 scripts functions on import, which new versions of torch warn about.
    warnings.simplefilter("ignore", FutureWarning)
    import detectron2.modeling  # noqa: F401

from .config import validate_config
from .errors import ConfigError, DataError, UserError
from .loss.atss_matching import ATSSMatcher
from .loss.match_statistics import MatchStatistics
from .loss.matching import anchor_weights, match_boxes, match_counts
from .loss.object_weights import OBJECT_WEIGHT_REGISTRY, ScaleBalancedWeight, object_weights
from .loss.scale_balanced_matcher import ScaleBalancedMatcher
from .modeling import (
    ScaleBalancedCascadeROIHeads,
    ScaleBalancedFastRCNNOutputLayers,
    ScaleBalancedFCOS,
    ScaleBalancedRes5ROIHeads,
    ScaleBalancedRetinaNet,
    ScaleBalancedRotatedFastRCNNOutputLayers,
    ScaleBalancedRPN,
    ScaleBalancedRROIHeads,
    ScaleBalancedRRPN,
    ScaleBalancedStandardROIHeads,
    build_model,
)
from .projects import add_scb_config, get_cfg

__all__ = [
    "OBJECT_WEIGHT_REGISTRY",
    "ATSSMatcher",
    "ConfigError",
    "DataError",
    "MatchStatistics",
    "ScaleBalancedCascadeROIHeads",
    "ScaleBalancedFCOS",
    "ScaleBalancedFastRCNNOutputLayers",
    "ScaleBalancedMatcher",
    "ScaleBalancedRPN",
    "ScaleBalancedRROIHeads",
    "ScaleBalancedRRPN",
    "ScaleBalancedRes5ROIHeads",
    "ScaleBalancedRetinaNet",
    "ScaleBalancedRotatedFastRCNNOutputLayers",
    "ScaleBalancedStandardROIHeads",
    "ScaleBalancedWeight",
    "UserError",
    "add_scb_config",
    "anchor_weights",
    "build_model",
    "get_cfg",
    "match_boxes",
    "match_counts",
    "object_weights",
    "validate_config",
]
