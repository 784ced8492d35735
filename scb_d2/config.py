"""Every key that this package adds to Detectron2's config, and the checks of ``MODEL.SCB``.

Only names and defaults stand here; what is built from them stands with what is built
(:mod:`scb_d2.modeling.from_config`, :func:`scb_d2.data.registration.register_datasets`, ...).
"""

import contextlib
import difflib
from types import SimpleNamespace
from typing import Any

import detectron2.config
from detectron2.config import CfgNode

from scb_d2.errors import ConfigError
from scb_d2.loss.matching import COUNTS
from scb_d2.loss.object_weights import check_form
from scb_d2.loss.scale_balanced_matcher import LOW_QUALITY_RULES
from scb_d2.loss.weighted_losses import LOSS_NAMES, WEIGHT_NORMALIZERS
from scb_d2.utils.arguments import check_choice, check_count, check_factor, check_names
from scb_d2.utils.size_groups import SIZE_EDGES

__all__ = ["STAGES", "add_scb_config", "get_cfg", "scb_settings", "validate_config"]

STAGES = ("first", "second")
ANCHOR_MATCHERS = ("iou", "atss")
_PREFIX = "MODEL.SCB."


def get_cfg() -> CfgNode:
    """Detectron2's default config with the project's keys, which checks values as they are merged.

    Into ``MODEL.SCB`` integers pass for floats and a bare string for a tuple of one; anything else
    that does not fit raises :class:`scb_d2.errors.ConfigError`.
    """
    cfg = _CheckedCfgNode()
    for key, value in detectron2.config.get_cfg().items():
        cfg[key] = value
    add_scb_config(cfg)
    return cfg


def add_scb_config(cfg: CfgNode) -> None:
    """Add the project's keys to a Detectron2 config, in place.

    Values are checked when a model is built from them (:func:`validate_config`); :func:`get_cfg`
    gives a config that checks them as they are merged.

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
    # 1 / (ln M + alpha), "uniform" 1 (table 1); "log_area", "inverse_sqrt_area" by the size of its
    # box; or another entry of OBJECT_WEIGHT_REGISTRY, "module.entry" where it is to be imported.
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
    # "stock" leaves the weights; "mean_one" rescales a batch's positive weights to mean 1.
    node.NORMALIZER = "stock"
    # Iterations between two entries of the scb/* statistics.
    node.LOG_PERIOD = 20
    cfg.MODEL.SCB = node
    cfg.MODEL.ANCHOR_MATCHER = CfgNode()
    # How RetinaNet and RPN match anchors, with the loss or without: "iou" as Detectron2, by its
    # thresholds; "atss" with a threshold for each object (Zhang et al. 2020).
    cfg.MODEL.ANCHOR_MATCHER.NAME = "iou"
    # ATSS: an object's candidates are the anchors of so many cells of each level (k in the paper).
    cfg.MODEL.ANCHOR_MATCHER.NUM_CANDIDATES = 9
    _add_data_keys(cfg)
    _add_test_keys(cfg)


def _add_data_keys(cfg: CfgNode) -> None:
    # Data sets to register, each a dict:
    #   {NAME: my_train, FORMAT: coco, JSON: path/to/train.json, IMAGES: path/to/images}
    #   {NAME: my_val, FORMAT: voc, DIR: path/to/VOCfolder, SPLIT: val,
    #    CLASSES: [cat, dog], YEAR: 2012}
    #   {NAME: my_test, FORMAT: yolo, DATA: path/to/data.yaml, SPLIT: test}
    # By default CLASSES is VOC's 20 and YEAR 2012; 2007 asks for the 11-point AP of that year.
    # coco also takes KEYPOINTS (names) and FLIP_PAIRS (names that change places when mirrored).
    # Relative paths start at the current directory, as Detectron2's own do.
    cfg.DATASETS.REGISTER = []

    # The class that makes network input of a record of a data set.
    cfg.INPUT.MAPPER = "CheckedDatasetMapper"

    # Pixel values of 16 or 32 bits or floating point that become 0 and 255, such as [0, 4095];
    # () takes the least and the largest value of each image.
    cfg.INPUT.PIXEL_RANGE = []

    # The embedded data sets shapes_train and shapes_val, generated on first use.
    cfg.DATASETS.SYNTHETIC = CfgNode()
    cfg.DATASETS.SYNTHETIC.ROOT = "datasets/shapes"
    cfg.DATASETS.SYNTHETIC.IMAGE_SIZE = 160
    cfg.DATASETS.SYNTHETIC.TRAIN_IMAGES = 600
    cfg.DATASETS.SYNTHETIC.VAL_IMAGES = 100
    # shapes_train is drawn from seed 2 * SEED, shapes_val from 2 * SEED + 1.
    cfg.DATASETS.SYNTHETIC.SEED = 0


def _add_test_keys(cfg: CfgNode) -> None:
    # Metric whose best value decides which weights are kept as `model_best.pth`, under the name it
    # has in metrics.json: "bbox/AP", "bbox/APs"; with several DATASETS.TEST "<dataset>/bbox/AP".
    # "" keeps none.
    cfg.TEST.BEST_METRIC = ""
    # "max" or "min": which value of BEST_METRIC is the best.
    cfg.TEST.BEST_MODE = "max"
    # End training after this many evaluations in a row without a new best value; 0 never does.
    cfg.TEST.PATIENCE = 0
    cfg.TEST.RECALL = CfgNode()
    # Recall by object size after every evaluation, in the results under "recall".
    cfg.TEST.RECALL.ENABLED = False
    # A detection finds an object from this IoU on.
    cfg.TEST.RECALL.IOU = 0.5
    # A detection counts from these scores on (the paper's tables 3, 4 and 6 to 9). Detections below
    # the model's own score threshold do not exist: MODEL.RETINANET.SCORE_THRESH_TEST and the like.
    cfg.TEST.RECALL.THRESHOLDS = [0.01, 0.1, 0.3]
    # Recall also where the run makes this many false positives per image.
    cfg.TEST.RECALL.FP_PER_IMAGE = [0.1, 1.0, 10.0]
    # "greedy": one-to-one by score within a class (COCO). "any": an IoU with any box of the image
    # (the paper's wording).
    cfg.TEST.RECALL.MATCH = "greedy"
    # Size of an object: "annotation", its area in native pixels; "box", its box in native pixels;
    # "input", its box in network-input pixels.
    cfg.TEST.RECALL.AREA = "annotation"
    # Inner limits of the size bins in square pixels.
    cfg.TEST.RECALL.AREA_EDGES = list(SIZE_EDGES)
    # Most detections per image and class; 0: all that the model gives.
    cfg.TEST.RECALL.MAX_DETECTIONS = 0
    # "pycocotools", "hotcoco", or "auto": the faster where it is installed.
    cfg.TEST.COCO_BACKEND = "auto"
    # Detections of each image and class that COCO's AP takes. COCO's own number hides what is found
    # in images with more objects of a class; AP with another number is not COCO's.
    cfg.TEST.COCO_MAX_DETS_PER_IMAGE = 100
    # Test images are cut into square tiles of this many pixels, run tile by tile, and the
    # detections merged into those of the whole image; 0: they are not.
    cfg.TEST.TILES = CfgNode()
    cfg.TEST.TILES.SIZE = 0
    # Least overlap of neighbouring tiles, as a share of a tile.
    cfg.TEST.TILES.OVERLAP = 0.2
    # Whether the whole image is run too, for objects larger than a tile.
    cfg.TEST.TILES.WHOLE_IMAGE = True
    # IoU above which the worse of two merged detections of a class goes.
    cfg.TEST.TILES.NMS_THRESH = 0.5


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
            node = model["SCB"]
            if not isinstance(node, dict):
                raise ConfigError(f"MODEL.SCB must hold keys and values; got {node!r}.")
            for key, value in node.items():
                node[key] = _checked(key, self._decode_cfg_value(value))
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
    "FORM": check_form,
    "ALPHA": _checked_number,
    "BETA": _checked_number,
    "LOSSES": lambda value, name: check_names(value, LOSS_NAMES, name),
    "COUNT": lambda value, name: check_choice(value, COUNTS, name),
    "LOW_QUALITY": lambda value, name: check_choice(value, LOW_QUALITY_RULES, name),
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
    """Check every value of ``MODEL.SCB`` and ``MODEL.ANCHOR_MATCHER``, set as attributes or not.

    Raises:
        ConfigError: naming the key, what was found and what is allowed.
    """
    scb_settings(cfg)
    matcher = cfg.MODEL.ANCHOR_MATCHER
    check_choice(matcher.NAME, ANCHOR_MATCHERS, "MODEL.ANCHOR_MATCHER.NAME")
    check_count(matcher.NUM_CANDIDATES, "MODEL.ANCHOR_MATCHER.NUM_CANDIDATES")


def scb_settings(cfg: CfgNode) -> SimpleNamespace:
    """The checked values of ``MODEL.SCB`` as attributes.

    Raises:
        ConfigError: naming the key, what was found and what is allowed.
    """
    if "SCB" not in cfg.MODEL:
        raise ConfigError("the config has no MODEL.SCB; call scb_d2.add_scb_config(cfg) first.")
    return SimpleNamespace(**{key: _checked(key, value) for key, value in cfg.MODEL.SCB.items()})
