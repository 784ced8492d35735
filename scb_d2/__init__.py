"""Scale-balanced loss for object detection (Shuang et al. 2021) as a drop-in for Detectron2."""

import warnings

try:
    with warnings.catch_warnings():
        # Detectron2 scripts functions on import, which new versions of torch warn about.
        warnings.simplefilter("ignore", FutureWarning)
        import detectron2.modeling  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "scb_d2 needs Detectron2, which is not on the Python package index under its name: run "
        "`make env` in the project's folder, or build it from its repository (docs/install.md).",
        name="detectron2",
    ) from error

from .config import add_scb_config, get_cfg, validate_config
from .errors import ConfigError, DataError, UserError
from .loss.match_statistics import MatchStatistics
from .loss.matching import ScaleBalancedMatcher, anchor_weights, match_boxes, match_counts
from .loss.object_weights import object_weights
from .loss.scale_balanced_weight import ScaleBalancedWeight
from .modeling import (
    ScaleBalancedCascadeROIHeads,
    ScaleBalancedFastRCNNOutputLayers,
    ScaleBalancedRes5ROIHeads,
    ScaleBalancedRetinaNet,
    ScaleBalancedRPN,
    ScaleBalancedStandardROIHeads,
    build_model,
)

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "MatchStatistics",
    "ScaleBalancedCascadeROIHeads",
    "ScaleBalancedFastRCNNOutputLayers",
    "ScaleBalancedMatcher",
    "ScaleBalancedRPN",
    "ScaleBalancedRes5ROIHeads",
    "ScaleBalancedRetinaNet",
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
