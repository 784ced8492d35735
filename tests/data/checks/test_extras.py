"""Keypoints, semantic masks and the federated loss on own data: registered, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import get_fed_loss_cls_weights

from scb_d2.config import get_cfg
from scb_d2.data.checks import check_datasets
from scb_d2.data.mapper import build_mapper
from scb_d2.data.registration import register_datasets
from scb_d2.errors import ConfigError, DataError
from tests.data.cases.builders import OBJECTS, write_coco

POINTS = {"KEYPOINTS": ["left", "right", "top"], "FLIP_PAIRS": [["left", "right"]]}


def _with_keypoints(content: dict[str, Any]) -> None:
    for annotation in content["annotations"][1:]:  # the first has none
        x, y = annotation["bbox"][:2]
        annotation["keypoints"] = [x, y, 2, x + 3, y, 2, x + 1, y + 2, 0]
        annotation["num_keypoints"] = 2


def _cfg(tmp_path: Path, **keys: Any) -> CfgNode:
    json_file, images = write_coco(tmp_path, _with_keypoints)
    entry = {"FORMAT": "coco", "JSON": str(json_file), "IMAGES": str(images), **keys}
    cfg = get_cfg()
    cfg.DATASETS.REGISTER = [{"NAME": "own", **entry}]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("own",)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "GeneralizedRCNN", 2
    cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 3
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.1, 0.1, 0.1]
    return cfg


def test_own_keypoints_are_trained_with_names_and_pairs(tmp_path: Path) -> None:
    cfg = _cfg(tmp_path, **POINTS)
    cfg.MODEL.KEYPOINT_ON = True
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (0,), "none"
    check_datasets(cfg)
    record = DatasetCatalog.get("own")[0]
    keypoints = build_mapper(cfg, True)(record)["instances"].gt_keypoints.tensor
    assert keypoints.shape == (len(OBJECTS[1]), 3, 3)
    assert not keypoints[0, :, 2].any()  # none are visible where there are none
    assert keypoints[1, 0].tolist() == [30.5, 10.5, 2]


@pytest.mark.parametrize(
    ("keys", "change", "sentence"),
    [
        ({}, {}, "MODEL.KEYPOINT_ON needs names of the keypoints of the data set 'own'"),
        (
            POINTS,
            {"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 5},
            "The data set 'own' has 3 keypoints: set MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS to that",
        ),
        (POINTS, {"TEST.KEYPOINT_OKS_SIGMAS": []}, "TEST.KEYPOINT_OKS_SIGMAS must hold one number"),
    ],
)
def test_keypoints_that_lack_something_are_refused(
    tmp_path: Path, keys: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    cfg = _cfg(tmp_path, **keys)
    cfg.MODEL.KEYPOINT_ON = True
    cfg.merge_from_list([part for pair in change.items() for part in pair])
    with pytest.raises((ConfigError, DataError)) as refused:
        check_datasets(cfg)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("pairs", [[["left"]], [["left", "up"]], "left", [["left", "left"]]])
def test_pairs_that_are_none(tmp_path: Path, pairs: Any) -> None:
    cfg = _cfg(tmp_path, **{**POINTS, "FLIP_PAIRS": pairs})
    with pytest.raises(ConfigError, match=r"DATASETS.REGISTER\[0\].FLIP_PAIRS must be a list of"):
        register_datasets(cfg)


def test_semantic_masks_cannot_be_registered_by_config(tmp_path: Path) -> None:
    cfg = _cfg(tmp_path)
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    with pytest.raises(DataError, match="PanopticFPN needs semantic masks, which "):
        check_datasets(cfg)


def test_the_federated_loss_knows_how_many_images_hold_a_class(tmp_path: Path) -> None:
    cfg = _cfg(tmp_path)
    cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = True
    cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES = 2
    check_datasets(cfg)
    assert [c["image_count"] for c in MetadataCatalog.get("own").class_image_count] == [3, 3]
    assert torch.equal(get_fed_loss_cls_weights(["own"], 1.0), torch.tensor([3.0, 3.0]))
    cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES = 50
    with pytest.raises(
        ConfigError, match=r"FED_LOSS_NUM_CLASSES must be at most .* objects, 2; got 50"
    ):
        check_datasets(cfg)


def test_keypoints_that_nobody_sees_are_no_objects(tmp_path: Path) -> None:
    cfg = _cfg(tmp_path, **POINTS)
    cfg.MODEL.KEYPOINT_ON, cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = True, 7
    with pytest.raises(DataError, match="has no object to train on: images without 7 visible key"):
        check_datasets(cfg)
    cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 6  # as one image has
    check_datasets(cfg)
