"""What training keypoints, semantic masks and a federated loss need of registered data sets."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from scb_d2.errors import ConfigError, DataError

__all__ = ["check_extras", "check_keypoints"]

_SEMANTIC = ("PanopticFPN", "SemanticSegmentor")


def check_keypoints(cfg: CfgNode, train_names: Sequence[str]) -> None:
    """Check that data sets have the names and mirror pairs without which no mapper can be built.

    Raises:
        DataError: naming the data set and the keys that register them.
        ConfigError: if the numbers of keypoints and of ``TEST.KEYPOINT_OKS_SIGMAS`` differ.
    """
    if not cfg.MODEL.KEYPOINT_ON:
        return
    for name in train_names:
        meta = MetadataCatalog.get(name)
        if meta.get("keypoint_names") is None or meta.get("keypoint_flip_map") is None:
            raise DataError(
                f"MODEL.KEYPOINT_ON needs names of the keypoints of the data set {name!r}, and the "
                "pairs that change places when an image is mirrored: give its entry in "
                "DATASETS.REGISTER the keys KEYPOINTS [nose, left_eye, right_eye] and FLIP_PAIRS "
                "[[left_eye, right_eye]], here as an example."
            )
        number = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        if len(meta.keypoint_names) != number:
            raise DataError(
                f"The data set {name!r} has {len(meta.keypoint_names)} keypoints: set "
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS to that, not {number}."
            )
    number, sigmas = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS, cfg.TEST.KEYPOINT_OKS_SIGMAS
    if cfg.DATASETS.TEST and len(sigmas or range(17)) != number:
        raise ConfigError(
            f"TEST.KEYPOINT_OKS_SIGMAS must hold one number for each of the {number} keypoints; "
            f"got {list(sigmas)!r} (none stands for COCO's 17)."
        )


def check_extras(cfg: CfgNode) -> None:
    """Check that own data sets have the semantic masks that some models train.

    Raises:
        DataError: naming the data set.
        ConfigError: if the federated loss samples more classes than there are.
    """
    if cfg.MODEL.META_ARCHITECTURE in _SEMANTIC:
        for name in cfg.DATASETS.TRAIN:
            if MetadataCatalog.get(name).get("scb_source") is not None:
                raise DataError(
                    f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} needs semantic masks, "
                    f"which DATASETS.REGISTER cannot give {name!r}: register it in Python by "
                    "detectron2.data.datasets.register_coco_panoptic_separated."
                )
    head = cfg.MODEL.ROI_BOX_HEAD
    if head.USE_FED_LOSS and head.FED_LOSS_NUM_CLASSES > cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        raise ConfigError(
            "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES must be at most the number of classes, "
            f"{cfg.MODEL.ROI_HEADS.NUM_CLASSES}; got {head.FED_LOSS_NUM_CLASSES}."
        )
