from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

from scb_d2 import ConfigError, add_scb_config
from scb_d2.data.registration import register_coco, register_voc
from scb_d2.evaluation.build import build_evaluator, check_evaluators
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from scb_d2.evaluation.voc_evaluator import VOCEvaluator
from tests.data.builders import voc_object, write_voc


@pytest.fixture
def two_objects(tmp_path: Path) -> str:
    """A small "cat" of 20 x 20 px and a large "dog" of 100 x 100 px in one image."""
    boxes = [[10.0, 10.0, 20.0, 20.0], [50.0, 50.0, 100.0, 100.0]]
    annotations = [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": i + 1,
            "bbox": b,
            "area": b[2] * b[3],
            "iscrowd": 0,
        }
        for i, b in enumerate(boxes)
    ]
    path = tmp_path / "two.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.png", "height": 200, "width": 200}],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
                "annotations": annotations,
            }
        )
    )
    register_coco("two_objects", path, tmp_path)
    MetadataCatalog.get("two_objects").set(
        thing_classes=["cat", "dog"], thing_dataset_id_to_contiguous_id={1: 0, 2: 1}
    )
    return "two_objects"


def _instances(boxes: list[list[float]], classes: list[int]) -> Instances:
    return Instances(
        (200, 200),
        pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        scores=torch.ones(len(boxes)),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def _evaluate(name: str, output_dir: Path, instances: Instances) -> dict[str, float]:
    evaluator = SafeCOCOEvaluator(name, output_dir=str(output_dir))
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


def test_no_detections_score_zero_where_there_are_objects(two_objects: str, tmp_path: Path) -> None:
    metrics = _evaluate(two_objects, tmp_path, _instances([], []))
    for name in ("AP", "AP50", "AP75", "APs", "APl", "AP-cat", "AP-dog"):
        assert metrics[name] == 0.0, name
    assert math.isnan(metrics["APm"])
    assert json.loads((tmp_path / "coco_instances_results.json").read_text()) == []


def test_detections_score_as_in_detectron2(two_objects: str, tmp_path: Path) -> None:
    metrics = _evaluate(two_objects, tmp_path, _instances([[10.0, 10.0, 30.0, 30.0]], [0]))
    assert metrics["AP-cat"] == pytest.approx(100.0)
    assert metrics["AP-dog"] == 0.0
    assert metrics["AP"] == pytest.approx(50.0)


def test_each_kind_of_data_gets_its_evaluator(two_objects: str, tmp_path: Path) -> None:
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.OUTPUT_DIR = str(tmp_path)
    assert isinstance(build_evaluator(cfg, two_objects), SafeCOCOEvaluator)
    folder = write_voc(tmp_path / "voc", {"a": voc_object()})
    register_voc("voc_scene", folder, "val", ["cat"])
    assert isinstance(build_evaluator(cfg, "voc_scene"), VOCEvaluator)


def test_an_evaluator_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="lvis_v1_val needs the Python package lvis"):
        check_evaluators(["lvis_v1_val"])
    MetadataCatalog.get("odd_data").evaluator_type = "odd"
    with pytest.raises(ConfigError, match="odd_data has the unknown evaluator type 'odd'"):
        check_evaluators(["odd_data"])


@pytest.mark.parametrize("backend", ["pycocotools", "hotcoco"])
def test_the_limit_of_detections_reaches_cocos_evaluation(tmp_path: Path, backend: str) -> None:
    """120 cats in one image, all found: of COCO's 100 detections 20 cats stay unfound."""
    boxes = [[10.0 * (i % 20), 10.0 * (i // 20), 8.0, 8.0] for i in range(120)]
    rows = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": b, "area": 64.0, "iscrowd": 0}
        for i, b in enumerate(boxes)
    ]
    image = {"id": 1, "file_name": "1.png", "height": 200, "width": 200}
    data = {"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": rows}
    (tmp_path / "crowd.json").write_text(json.dumps(data))
    name = f"crowded_{backend}"
    register_coco(name, tmp_path / "crowd.json", tmp_path)
    MetadataCatalog.get(name).set(thing_classes=["cat"], thing_dataset_id_to_contiguous_id={1: 0})
    found = _instances([[x, y, x + w, y + h] for x, y, w, h in boxes], [0] * 120)
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.OUTPUT_DIR, cfg.TEST.COCO_BACKEND = str(tmp_path), backend
    ap = {}
    for limit in (100, 150):
        cfg.TEST.COCO_MAX_DETS_PER_IMAGE = limit
        evaluator = build_evaluator(cfg, name)
        evaluator.reset()
        evaluator.process([{"image_id": 1}], [{"instances": found}])
        ap[limit] = evaluator.evaluate()["bbox"]["AP"]
    assert ap[150] == pytest.approx(100)
    # Precision is 1 up to a recall of 100 / 120, that is at 84 of COCO's 101 points.
    assert ap[100] == pytest.approx(100 * 84 / 101)


def test_a_limit_below_cocos_own_smaller_ones_is_refused(two_objects: str) -> None:
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.TEST.COCO_MAX_DETS_PER_IMAGE = 5
    with pytest.raises(ConfigError, match=r"TEST\.COCO_MAX_DETS_PER_IMAGE must be at least 10"):
        build_evaluator(cfg, two_objects)
