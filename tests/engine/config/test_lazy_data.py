"""LazyConfigs on own data: keypoints, semantic masks, the federated loss, classes, evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from scb_d2 import UserError
from scb_d2.cli import main as command
from scb_d2.data.registration import register_coco
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.lazy_data import check_lazy_agreement, lazy_dataset_reports
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from tests.data.cases.builders import write_coco

ZOO = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"
POINTS = ["left", "right", "top"]
HEAD = """
from detectron2.config import LazyCall as L
from detectron2.data.detection_utils import get_fed_loss_cls_weights
from detectron2.model_zoo import get_config

cfg = get_config({zoo!r})
model, optimizer, lr_multiplier = cfg.model, cfg.optimizer, cfg.lr_multiplier
dataloader, train = cfg.dataloader, cfg.train
dataloader.train.dataset.names, dataloader.test.dataset.names = "own", "own"
model.roi_heads.num_classes = 2
train.update(init_checkpoint="", device="cpu")
"""
FED_LOSS = """
model.roi_heads.box_predictor.update(
    use_fed_loss=True, use_sigmoid_ce=True, fed_loss_num_classes={n},
    get_fed_loss_cls_weights=lambda: get_fed_loss_cls_weights("own", 1.0),
)
"""


def _keypoints(content: dict[str, Any]) -> None:
    for annotation in content["annotations"]:
        x, y = annotation["bbox"][:2]
        annotation["keypoints"] = [x, y, 2, x + 3, y, 2, x + 1, y + 2, 0]


def _load(tmp_path: Path, zoo: str, more: str = "", opts: list[str] | None = None):
    json_file, images = write_coco(tmp_path / "own", _keypoints)
    register_coco("own", json_file, images, POINTS, [("left", "right")])
    path = tmp_path / "own.py"
    path.write_text(HEAD.format(zoo=zoo) + more)
    return load_lazy_config(str(path), opts)


def _check(cfg: Any) -> None:
    reports = lazy_dataset_reports(cfg)
    for report in reports:
        report.raise_first_error()
    check_lazy_agreement(cfg, reports)


THREE = ["model.roi_heads.keypoint_head.num_keypoints=3"]
PAIRS = ["dataloader.train.mapper.keypoint_hflip_indices=[1,0,2]"]
SIGMAS = ["dataloader.evaluator.kpt_oks_sigmas=[0.1,0.1,0.1]"]


@pytest.mark.parametrize(
    ("opts", "sentence"),
    [
        ([*THREE, *PAIRS, *SIGMAS], None),
        ([*PAIRS, *SIGMAS], "keypoint_hflip_indices must hold one number for each of the 17 "),
        ([*THREE, *SIGMAS], "keypoint_hflip_indices must hold one number for each of the 3 keypoi"),
        ([*THREE, *PAIRS], "kpt_oks_sigmas of dataloader.evaluator must hold one number for each"),
        ([], "with another number of keypoints than MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"),
        (
            [*THREE, *PAIRS, *SIGMAS, "dataloader.train.dataset.min_keypoints=9"],
            "has no object to train on: images without 9 visible keypoints are left out",
        ),
    ],
)
def test_own_keypoints(tmp_path: Path, opts: list[str], sentence: str | None) -> None:
    cfg = _load(tmp_path, "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.py", "", opts)
    if sentence is None:
        _check(cfg)
        return
    with pytest.raises(UserError) as refused:
        _check(cfg)
    assert sentence in str(refused.value)


def test_keypoints_that_are_never_mirrored_need_no_pairs(tmp_path: Path) -> None:
    none = ["dataloader.train.mapper.keypoint_hflip_indices=null"]
    none += ["dataloader.train.mapper.augmentations.1.horizontal=False"]
    none += ["dataloader.train.mapper.augmentations.1.vertical=True"]
    zoo = "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.py"
    _check(_load(tmp_path, zoo, "", [*THREE, *SIGMAS, *none]))


def test_semantic_masks_that_own_data_lacks(tmp_path: Path) -> None:
    cfg = _load(tmp_path, "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.py")
    with pytest.raises(UserError, match=r"^model\.sem_seg_head needs semantic masks, which "):
        _check(cfg)
    evaluator = cfg.dataloader.evaluator[0]  # one of three
    assert evaluator._target_ is SafeCOCOEvaluator
    assert evaluator.output_dir == "./output/inference"


def test_the_federated_loss_on_own_data(tmp_path: Path) -> None:
    cfg = _load(tmp_path, ZOO, FED_LOSS.format(n=2))
    _check(cfg)
    weights = cfg.model.roi_heads.box_predictor.get_fed_loss_cls_weights()
    assert torch.equal(weights, torch.tensor([3.0, 3.0]))
    cfg.model.roi_heads.box_predictor.fed_loss_num_classes = 3
    with pytest.raises(UserError, match=r"fed_loss_num_classes must be at most .* 2; got 3"):
        _check(cfg)
    del cfg.model.roi_heads.box_predictor.fed_loss_num_classes
    with pytest.raises(UserError, match=r"fed_loss_num_classes must be at most .* 2; got 50"):
        _check(cfg)


def test_the_data_sets_must_agree_in_their_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def swapped(content: dict[str, Any]) -> None:
        content["categories"].reverse()
        for n, category in enumerate(content["categories"]):
            category["id"] = n + 1

    register_coco("swapped", *write_coco(tmp_path / "other", swapped))
    _load(tmp_path, ZOO)
    opts = ["dataloader.test.dataset.names=swapped", "dataloader.train.mapper.use_instance_mask=0"]
    assert command(["check", "--config-file", str(tmp_path / "own.py"), *opts]) == 1
    assert "and they differ: their order." in capsys.readouterr().out


def test_images_are_tested_with_the_pixel_range_of_training(tmp_path: Path) -> None:
    trained = ["dataloader.train.mapper.pixel_range=[0,4095]"]
    cfg = _load(tmp_path, ZOO, "", trained)
    assert list(cfg.dataloader.test.mapper.pixel_range) == [0, 4095]
    cfg.dataloader.test.mapper.pixel_range = [0, 65535]
    with pytest.raises(UserError, match="tested on other pixels than it is trained on"):
        _check(cfg)
    cfg = _load(tmp_path, ZOO)
    assert "pixel_range" not in cfg.dataloader.test.mapper


@pytest.mark.parametrize(
    ("opts", "sentence"),
    [
        (["dataloader.test.dataset.names=[own]"], None),
        (["dataloader.test.dataset.names=[own,blood_cells_test]"], "must name one data set; got "),
        (["dataloader.evaluator.dataset_name=other"], "names the data set 'other', which is not"),
    ],
)
def test_what_is_evaluated_is_one_data_set(
    tmp_path: Path, opts: list[str], sentence: str | None
) -> None:
    cfg = _load(tmp_path, ZOO, "dataloader.train.mapper.use_instance_mask = False", opts)
    if sentence is None:
        assert cfg.dataloader.test.dataset.names == cfg.dataloader.evaluator.dataset_name == "own"
        _check(cfg)
        return
    with pytest.raises(UserError, match=sentence):
        _check(cfg)


def test_objects_of_other_images_than_those_tested_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opts = ["dataloader.evaluator.dataset_name=blood_cells_test"]
    cfg = _load(tmp_path, ZOO, "dataloader.train.mapper.use_instance_mask = False", opts)
    _check(cfg)
    (record,) = caplog.records
    assert "has the objects of blood_cells_test, and the images are of own" in record.getMessage()
