"""Data sets against each other and against the model, as a run checks them at its start."""

import json
import logging
import re
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from scb_d2.config import add_scb_config
from scb_d2.data.checks.classes import check_class_count, dataset_classes, num_classes_key
from scb_d2.data.checks.datasets import (
    check_dataset,
    check_datasets,
)
from scb_d2.data.registration import register_coco, register_voc
from scb_d2.errors import DataError
from tests.data.builders import voc_object, write_coco, write_voc


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """A RetinaNet of two classes trained on ``mine_train`` and evaluated on ``mine_val``."""
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.RETINANET.NUM_CLASSES = 2
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("mine_train",), ("mine_val",)
    for name in ("mine_train", "mine_val"):
        json_file = write_coco(tmp_path / name)
        entry = {"NAME": name, "FORMAT": "coco", "JSON": str(json_file)}
        cfg.DATASETS.REGISTER.append(entry | {"IMAGES": str(tmp_path / name / "images")})
    return cfg


def _error(cfg: CfgNode, **roles: bool) -> str:
    with pytest.raises(DataError) as wrong:
        check_datasets(cfg, **roles)
    return str(wrong.value)


def test_sound_data_sets_pass(cfg: CfgNode, caplog: pytest.LogCaptureFixture) -> None:
    train, val = check_datasets(cfg)
    assert (train.name, val.name) == ("mine_train", "mine_val")
    assert train.classes == val.classes == ["cat", "dog"]
    assert caplog.messages == []


def test_unknown_names_get_close_ones_and_the_way_to_register(cfg: CfgNode) -> None:
    cfg.DATASETS.TEST = ("mine_vall",)
    assert _error(cfg) == (
        "DATASETS.TEST names the data set 'mine_vall', which is not registered (did you mean "
        "'mine_val' or 'mine_train'; register your own with DATASETS.REGISTER)."
    )
    cfg.DATASETS.TRAIN = ("??",)
    assert _error(cfg) == (
        "DATASETS.TRAIN names the data set '??', which is not registered (no known name is close; "
        "register your own with DATASETS.REGISTER)."
    )
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()
    assert _error(cfg).startswith("DATASETS.TRAIN names no data set to train on")


def test_train_data_need_not_be_there_to_evaluate(cfg: CfgNode) -> None:
    cfg.DATASETS.TRAIN = ("absent",)
    (report,) = check_datasets(cfg, train=False)
    assert report.name == "mine_val"


def test_a_fault_in_a_file_stops_the_run(cfg: CfgNode, tmp_path: Path) -> None:
    (tmp_path / "mine_val" / "images" / "b.png").unlink()
    assert _error(cfg) == (
        f"The annotation file {tmp_path}/mine_val/a.json names image files that do not exist: 1 "
        f"({tmp_path}/mine_val/images/b.png)."
    )


def test_warnings_are_logged_once_and_notes_are_not(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(content: dict) -> None:
        content["annotations"][0]["bbox"] = [1, 2, 0, 3]

    write_coco(tmp_path / "mine_train", change)
    with caplog.at_level(logging.INFO):
        check_datasets(cfg)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "dropped from training as Detectron2 does: 1 (annotation 1" in caplog.text


def test_train_and_test_must_agree_in_classes(cfg: CfgNode, tmp_path: Path) -> None:
    json_file = tmp_path / "mine_val" / "a.json"
    content = json.loads(json_file.read_text())
    content["categories"][1]["name"] = "cow"
    json_file.write_text(json.dumps(content))
    assert _error(cfg) == (
        "The data sets 'mine_train' (2 classes) and 'mine_val' (2 classes) must have the same "
        "classes in the same order, and they differ: 'cow', 'dog' only in one."
    )
    content["categories"] = [{"id": 1, "name": "dog"}, {"id": 5, "name": "cat"}]
    json_file.write_text(json.dumps(content))
    assert _error(cfg).endswith("and they differ: their order.")


@pytest.mark.parametrize(
    ("architecture", "key"),
    [
        ("RetinaNet", "MODEL.RETINANET.NUM_CLASSES"),
        ("ScaleBalancedRetinaNet", "MODEL.RETINANET.NUM_CLASSES"),
        ("GeneralizedRCNN", "MODEL.ROI_HEADS.NUM_CLASSES"),
    ],
)
def test_the_models_class_count_must_fit(cfg: CfgNode, architecture: str, key: str) -> None:
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.merge_from_list([key, 80])
    assert _error(cfg) == (
        f"The model has 80 classes and the data set 'mine_train' has 2: set {key} to 2."
    )


def test_architectures_of_the_projects_find_their_own_key() -> None:
    cfg = get_cfg()
    cfg.MODEL.SSD = CfgNode({"NUM_CLASSES": 20})
    for name, key in (("SSD", "SSD"), ("FSSD", "SSD")):
        cfg.MODEL.META_ARCHITECTURE = name
        assert num_classes_key(cfg) == f"MODEL.{key}.NUM_CLASSES"
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    assert num_classes_key(cfg) is None


def test_class_count_of_named_data_sets(tmp_path: Path) -> None:
    register_coco("mine", write_coco(tmp_path), tmp_path / "images")
    assert dataset_classes("mine") == ["cat", "dog"]
    check_class_count(2, ["mine"], "num_classes")
    with pytest.raises(DataError, match="has 3 classes and the data set 'mine' has 2: set num_cl"):
        check_class_count(3, ["mine"], "num_classes")
    DatasetCatalog.register("nameless", list)
    with pytest.raises(DataError, match="'nameless' has no class names"):
        dataset_classes("nameless")


def test_absent_builtin_data_sets_say_where_they_were_looked_for(cfg: CfgNode) -> None:
    cfg.DATASETS.TEST = ("coco_2017_val",)
    assert _error(cfg, train=False) == (
        "The data set 'coco_2017_val' needs datasets/coco/annotations/instances_val2017.json, "
        "which does not exist; the environment variable DETECTRON2_DATASETS is not set, which "
        "stands for './datasets'."
    )
    cfg.DATASETS.TEST = ("voc_2007_test",)
    assert "needs datasets/VOC2007/ImageSets/Main/test.txt" in _error(cfg, train=False)


def test_a_builtin_name_must_hold_its_own_categories(cfg: CfgNode) -> None:
    json_file = write_coco(Path("datasets/coco/val2017"))
    Path("datasets/coco/annotations").mkdir()
    json_file.rename("datasets/coco/annotations/instances_val2017.json")
    report = check_dataset("coco_2017_val")
    assert report.findings[0].message == (
        "The annotation file datasets/coco/annotations/instances_val2017.json has other categories "
        "than the data set 'coco_2017_val' must have: 2 instead of 80."
    )


def test_voc_layout_beside_coco(cfg: CfgNode, tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc", {"a": voc_object(), "b": voc_object("dog")})
    register_voc("mine_voc", folder, "val", ["cat", "dog"])
    cfg.DATASETS.TEST = ("mine_voc",)
    assert check_datasets(cfg)[1].num_annotations == 2


def test_shapes_are_made_by_the_check(cfg: CfgNode, tmp_path: Path) -> None:
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("shapes_train",), ("shapes_val",)
    sizes = ["TRAIN_IMAGES", 2, "VAL_IMAGES", 1, "IMAGE_SIZE", 64, "ROOT", str(tmp_path / "made")]
    cfg.DATASETS.SYNTHETIC.merge_from_list(sizes)
    cfg.MODEL.RETINANET.NUM_CLASSES = 4
    reports = check_datasets(cfg)
    assert [report.num_images for report in reports] == [2, 1]
    assert Path(MetadataCatalog.get("shapes_val").json_file).is_file()


def test_data_sets_of_the_users_own_code_are_read_too(cfg: CfgNode) -> None:
    box = {"bbox": [1, 2, 11, 14], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    record = {"file_name": "a.png", "image_id": 7, "height": 30, "width": 40, "annotations": [box]}
    DatasetCatalog.register("coded", lambda: [record])
    MetadataCatalog.get("coded").thing_classes = ["cat", "dog"]
    cfg.DATASETS.TEST = ("coded",)
    report = check_datasets(cfg)[1]
    assert [(f.severity, f.code) for f in report.findings] == [("note", "unused-category")]
    record["annotations"] = [{**box, "category_id": 2}]
    assert _error(cfg).startswith(
        "The data set 'coded' has annotations of a category_id that is not among its categories: "
        "1 (annotation 1 of image 7 with category_id 2)."
    )


def test_what_a_users_function_raises_is_named() -> None:
    def broken() -> list:
        return {}["boxes"]

    DatasetCatalog.register("own", broken)
    (finding,) = check_dataset("own").findings
    assert finding.message.startswith("The data set 'own' cannot be read: ")
    assert re.search(r"test_datasets\.py, line \d+, raised KeyError: 'boxes'\.$", finding.message)
