"""What training keypoints, semantic masks and a federated loss need of registered data sets."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T

from scb_d2.errors import ConfigError, DataError

__all__ = [
    "check_extras",
    "check_federated_loss",
    "check_keypoints",
    "check_semantic_masks",
    "check_sigmas",
    "mirrors",
]

_SEMANTIC = ("PanopticFPN", "SemanticSegmentor")
_COCO_KEYPOINTS = 17


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
    number = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
    if cfg.DATASETS.TEST:
        check_sigmas(cfg.TEST.KEYPOINT_OKS_SIGMAS, number, "TEST.KEYPOINT_OKS_SIGMAS")


def check_sigmas(sigmas: Sequence[float] | None, num_keypoints: int, key: str) -> None:
    """Check that the evaluation of keypoints has a tolerance for each.

    Args:
        sigmas: of ``key``; none stands for COCO's 17.
        num_keypoints: of the model.
        key: of the config, for the message.

    Raises:
        ConfigError: if the numbers differ.
    """
    if len(sigmas or range(_COCO_KEYPOINTS)) != num_keypoints:
        raise ConfigError(
            f"{key} must hold one number for each of the {num_keypoints} keypoints; got "
            f"{list(sigmas or ())!r} (none stands for COCO's {_COCO_KEYPOINTS})."
        )


def mirrors(augmentations: Sequence[T.Augmentation]) -> bool:
    """Whether any of these may mirror an image, so that keypoints change places."""
    return any(isinstance(a, T.RandomFlip) and a.horizontal for a in augmentations)


def check_extras(cfg: CfgNode) -> None:
    """Check that own data sets have the semantic masks that some models train.

    Raises:
        DataError: naming the data set.
        ConfigError: if the federated loss samples more classes than there are.
    """
    if cfg.MODEL.META_ARCHITECTURE in _SEMANTIC:
        architecture = f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}"
        check_semantic_masks(cfg.DATASETS.TRAIN, architecture)
    head = cfg.MODEL.ROI_BOX_HEAD
    if head.USE_FED_LOSS:
        key = "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES"
        check_federated_loss(head.FED_LOSS_NUM_CLASSES, cfg.DATASETS.TRAIN, key)


def check_semantic_masks(train_names: Sequence[str], what: str) -> None:
    """Check that none of the data sets is of those that have no semantic masks.

    Args:
        train_names: registered names.
        what: part of the model that trains such masks, for the message.

    Raises:
        DataError: naming the data set.
    """
    for name in train_names:
        if MetadataCatalog.get(name).get("scb_source") is not None:
            raise DataError(
                f"{what} needs semantic masks, which DATASETS.REGISTER and scb_d2.data cannot give "
                f"{name!r}: register it in Python by "
                "detectron2.data.datasets.register_coco_panoptic_separated."
            )


def check_federated_loss(sampled: int, train_names: Sequence[str], key: str) -> None:
    """Check that the federated loss finds as many classes as it samples.

    Args:
        sampled: the value of ``key``.
        train_names: registered names, of which the first tells how many images hold a class.
        key: of the config, for the message.

    Raises:
        ConfigError: naming the key and both numbers.
    """
    for name in train_names[:1]:
        counts = MetadataCatalog.get(name).get("class_image_count") or ()
        held = sum(count["image_count"] > 0 for count in counts)
        if counts and sampled > held:
            raise ConfigError(
                f"{key} must be at most the number of classes of which {name!r} has objects, "
                f"{held}; got {sampled}."
            )
