"""Data sets registered from the config: right, wrong, twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from scb_d2.config import add_scb_config
from scb_d2.data.registration import register_coco, register_datasets, register_shapes, register_voc
from scb_d2.errors import ConfigError, DataError


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.DATASETS.SYNTHETIC.merge_from_list(
        ["ROOT", str(tmp_path / "shapes"), "TRAIN_IMAGES", 2, "VAL_IMAGES", 1, "IMAGE_SIZE", 64]
    )
    return cfg


def _coco(**changes: Any) -> dict[str, Any]:
    return {"NAME": "mine", "FORMAT": "coco", "JSON": "a.json", "IMAGES": "images"} | changes


def _voc(**changes: Any) -> dict[str, Any]:
    return {"NAME": "mine", "FORMAT": "voc", "DIR": "voc", "SPLIT": "val"} | changes


def test_entries_come_from_the_command_line_as_well_as_from_yaml(cfg: CfgNode) -> None:
    Path("config.yaml").write_text(
        "DATASETS:\n  REGISTER:\n"
        "  - {NAME: mine_yaml, FORMAT: coco, JSON: a.json, IMAGES: images}\n"
        "  - {NAME: mine_voc, FORMAT: voc, DIR: voc, SPLIT: val, CLASSES: [cat], YEAR: 2007}\n"
    )
    cfg.merge_from_file("config.yaml")
    register_datasets(cfg)
    assert MetadataCatalog.get("mine_yaml").json_file == "a.json"
    voc = MetadataCatalog.get("mine_voc")
    assert (voc.dirname, voc.split, voc.year, voc.thing_classes) == ("voc", "val", 2007, ["cat"])
    assert voc.evaluator_type == "pascal_voc"

    cfg.merge_from_list(["DATASETS.REGISTER", str([_coco(NAME="mine_cli")])])
    register_datasets(cfg)
    assert MetadataCatalog.get("mine_cli").image_root == "images"
    reread = get_cfg()
    add_scb_config(reread)
    Path("dumped.yaml").write_text(cfg.dump())
    reread.merge_from_file("dumped.yaml")
    assert reread.DATASETS == cfg.DATASETS


def test_a_registered_coco_data_set_loads(cfg: CfgNode) -> None:
    categories = [{"id": 7, "name": "b"}, {"id": 3, "name": "a"}]
    image = {"id": 1, "file_name": "x.png", "width": 10, "height": 8}
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 0}
    content = {"images": [image], "annotations": [annotation], "categories": categories}
    Path("a.json").write_text(json.dumps(content))
    cfg.DATASETS.REGISTER = [_coco()]
    register_datasets(cfg)
    (record,) = DatasetCatalog.get("mine")
    assert record["file_name"] == "images/x.png"
    assert record["annotations"][0]["category_id"] == 1
    assert MetadataCatalog.get("mine").thing_classes == ["a", "b"]


def test_the_same_again_is_fine_and_other_content_is_refused(cfg: CfgNode) -> None:
    cfg.DATASETS.REGISTER = [_coco(), _coco()]
    register_datasets(cfg)
    register_datasets(cfg)
    cfg.DATASETS.REGISTER = [_coco(JSON="b.json")]
    with pytest.raises(DataError) as refused:
        register_datasets(cfg)
    assert str(refused.value) == (
        "The data set name 'mine' is already registered as FORMAT 'coco', JSON 'a.json', IMAGES "
        "'images' and cannot also stand for FORMAT 'coco', JSON 'b.json', IMAGES 'images': choose "
        "another name."
    )


@pytest.mark.parametrize("name", ["coco_2017_train", "shapes_train"])
def test_names_that_are_taken_are_refused(cfg: CfgNode, name: str) -> None:
    cfg.DATASETS.REGISTER = [_coco(NAME=name)]
    with pytest.raises(DataError, match=f"{name!r} is already registered"):
        register_datasets(cfg)


def test_a_name_from_the_users_own_code_is_left_alone(cfg: CfgNode) -> None:
    DatasetCatalog.register("mine", list)
    # Other tests may have left it registered.
    DatasetCatalog.data.pop("shapes_train", None)
    MetadataCatalog.pop("shapes_train", None)
    DatasetCatalog.register("shapes_train", list)
    for register in (lambda: register_coco("mine", "a.json", "i"), register_shapes):
        with pytest.raises(DataError, match="already registered by Detectron2 or by your own code"):
            register()


def test_a_name_asked_for_before_it_was_registered_can_still_be(cfg: CfgNode) -> None:
    MetadataCatalog.get("mine")
    register_voc("mine", "~/voc", "train")
    assert MetadataCatalog.get("mine").dirname == str(Path.home() / "voc")


WRONG = [
    ("mine", "DATASETS.REGISTER must be a list of dicts with a NAME and a FORMAT, not 'mine'."),
    (["mine"], "DATASETS.REGISTER[0] must be a dict with a NAME and a FORMAT, not 'mine'."),
    (
        [_coco(FORMAT="tf")],
        "DATASETS.REGISTER[0].FORMAT must be one of 'coco', 'voc' and 'yolo', not 'tf'.",
    ),
    ([{}], "DATASETS.REGISTER[0].FORMAT must be one of 'coco', 'voc' and 'yolo', not None."),
    (
        [_coco(FORMAT=["coco"])],
        "DATASETS.REGISTER[0].FORMAT must be one of 'coco', 'voc' and 'yolo', not ['coco'].",
    ),
    (
        [_coco(), _coco(NAME="b", JASON="x")],
        "DATASETS.REGISTER[1] has the unknown key 'JASON'; FORMAT 'coco' allows NAME, JSON, "
        "IMAGES, FORMAT, KEYPOINTS, FLIP_PAIRS.",
    ),
    ([_coco(NAME="")], "DATASETS.REGISTER[0].NAME must be a non-empty string, not ''."),
    ([_coco(JSON=3)], "DATASETS.REGISTER[0].JSON must be a non-empty string, not 3."),
    (
        [{"NAME": "n", "FORMAT": "coco", "JSON": "a"}],
        "DATASETS.REGISTER[0].IMAGES must be a non-empty string, not None.",
    ),
    ([_voc(SPLIT=None)], "DATASETS.REGISTER[0].SPLIT must be a non-empty string, not None."),
    ([_voc(YEAR=2010)], "DATASETS.REGISTER[0].YEAR must be 2007 or 2012, not 2010."),
    ([_voc(YEAR="2007")], "DATASETS.REGISTER[0].YEAR must be 2007 or 2012, not '2007'."),
    (
        [_voc(CLASSES="cat")],
        "DATASETS.REGISTER[0].CLASSES must be a list of different class names, not 'cat'.",
    ),
    (
        [_voc(CLASSES=["cat", "cat"])],
        "DATASETS.REGISTER[0].CLASSES must be a list of different class names, not ['cat', 'cat'].",
    ),
    (
        [_voc(CLASSES=[])],
        "DATASETS.REGISTER[0].CLASSES must be a list of different class names, not [].",
    ),
]


@pytest.mark.parametrize(("entries", "sentence"), WRONG)
def test_wrong_entries_get_one_sentence(cfg: CfgNode, entries: Any, sentence: str) -> None:
    cfg.DATASETS.REGISTER = entries
    with pytest.raises(ConfigError) as wrong:
        register_datasets(cfg)
    assert str(wrong.value) == sentence


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("IMAGE_SIZE", 16, "must be a whole number of at least 32, not 16."),
        ("TRAIN_IMAGES", 0, "must be a whole number of at least 1, not 0."),
        ("VAL_IMAGES", True, "must be a whole number of at least 1, not True."),
        ("SEED", -1, "must be a whole number of at least 0, not -1."),
        ("ROOT", "", "must be the path of a folder, not ''."),
    ],
)
def test_wrong_synthetic_keys(cfg: CfgNode, key: str, value: Any, sentence: str) -> None:
    cfg.DATASETS.SYNTHETIC[key] = value
    with pytest.raises(ConfigError) as wrong:
        register_datasets(cfg)
    assert str(wrong.value) == f"DATASETS.SYNTHETIC.{key} {sentence}"


def test_shapes_are_generated_when_first_loaded(cfg: CfgNode, tmp_path: Path) -> None:
    register_datasets(cfg)
    assert not (tmp_path / "shapes").exists()
    train, val = DatasetCatalog.get("shapes_train"), DatasetCatalog.get("shapes_val")
    assert (len(train), len(val)) == (2, 1)
    assert Path(train[0]["file_name"]).read_bytes() != Path(val[0]["file_name"]).read_bytes()


def test_shapes_stand_for_the_last_recipe(cfg: CfgNode) -> None:
    register_datasets(cfg)
    DatasetCatalog.get("shapes_val")
    cfg.DATASETS.SYNTHETIC.VAL_IMAGES = 3
    register_datasets(cfg)
    assert len(DatasetCatalog.get("shapes_val")) == 3
    assert "val-3x64px" in MetadataCatalog.get("shapes_val").json_file
