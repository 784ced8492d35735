"""The evaluators on COCO and VOC data sets, in one process and in two."""

import json

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.data.datasets.pascal_voc import load_voc_instances
from detectron2.engine import launch
from detectron2.structures import Boxes, BoxMode, Instances

from scb_d2.config import add_scb_config
from scb_d2.data.reader.catalog import records_of
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import coco_of, load_ground_truth
from scb_d2.errors import ConfigError
from scb_d2.evaluation import coco_backend
from scb_d2.evaluation.coco_backend import coco_eval_class
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from scb_d2.evaluation.recall import RecallSettings, evaluate_recall, flat_metrics
from scb_d2.evaluation.recall_evaluator import RecallBySizeEvaluator, recall_settings

from .scenes import coco_eval, random_scene

CLASS_INDEX = {1: 0, 3: 1}


def register(folder, seed=0):
    data, results = random_scene(seed)
    path = folder / "truth.json"
    path.write_text(json.dumps(data))
    register_coco_instances("scene", {}, str(path), str(folder))
    DatasetCatalog.get("scene")  # fills the metadata, as building a test loader does
    return data, results


def feed(evaluator, data, results, image_ids=None, scale=1):
    """Hand the results over as a model would, whose input is `scale` times the native size."""
    evaluator.reset()
    for image in data["images"]:
        if image_ids is not None and image["id"] not in image_ids:
            continue
        rows = [row for row in results if row["image_id"] == image["id"]]
        height, width = image["height"], image["width"]
        instances = Instances((height, width))
        boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
        instances.pred_boxes = Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1))
        instances.scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
        instances.pred_classes = torch.tensor(
            [CLASS_INDEX[row["category_id"]] for row in rows]
        ).long()
        pixels = torch.zeros(3, height * scale, width * scale, dtype=torch.uint8)
        inputs = {"image_id": image["id"], "height": height, "width": width, "image": pixels}
        evaluator.process([inputs], [{"instances": instances}])
    return evaluator


def test_a_coco_data_set_gives_the_numbers_of_its_files(tmp_path):
    data, results = register(tmp_path)
    evaluator = feed(RecallBySizeEvaluator("scene", output_dir=tmp_path / "out"), data, results)
    metrics = evaluator.evaluate()["recall"]
    truth = load_ground_truth(data)
    expected = flat_metrics(evaluate_recall(truth, load_detections(results, truth)))
    assert metrics == pytest.approx(expected, nan_ok=True)
    written = json.loads((tmp_path / "out" / "scene_recall.json").read_text())
    assert written["objects"]["small"] == expected["objects_small"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scene_recall.json"]


def test_network_input_pixels_are_those_the_model_saw(tmp_path):
    data, results = register(tmp_path)
    settings = RecallSettings(area="input")
    evaluator = feed(RecallBySizeEvaluator("scene", settings), data, results, scale=2)
    truth = load_ground_truth(data)
    expected = evaluate_recall(
        truth, load_detections(results, truth), settings, area_scales=np.full(12, 4.0)
    )
    assert evaluator.evaluate()["recall"] == pytest.approx(flat_metrics(expected), nan_ok=True)


def test_a_model_that_detects_nothing_has_recall_0(tmp_path, caplog):
    data, _ = register(tmp_path)
    metrics = feed(RecallBySizeEvaluator("scene"), data, []).evaluate()["recall"]
    assert metrics["AP"] == metrics["recall_small_0.01"] == 0
    assert "nothing was detected" in caplog.text


def test_a_model_without_detections_is_refused(tmp_path):
    data, _ = register(tmp_path)
    with pytest.raises(ConfigError, match=r"RECALL.ENABLED: .* gives proposals and no instances"):
        RecallBySizeEvaluator("scene").process([data["images"][0]], [{"proposals": None}])


def _rank(folder, results, data):
    register_coco_instances("scene", {}, f"{folder}/truth.json", str(folder))
    DatasetCatalog.get("scene")
    from detectron2.utils import comm

    half = [image["id"] for image in data["images"]][comm.get_rank() :: 2]
    evaluator = feed(RecallBySizeEvaluator("scene"), data, results, half)
    metrics = evaluator.evaluate()
    if comm.is_main_process():
        (folder / "metrics.json").write_text(json.dumps(metrics["recall"]))
    else:
        assert metrics == {}


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path):
    data, results = register(tmp_path)
    expected = feed(RecallBySizeEvaluator("scene"), data, results).evaluate()["recall"]
    launch(_rank, 2, dist_url="auto", args=(tmp_path, results, data))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == pytest.approx(expected, nan_ok=True)


VOC_XML = """<annotation><filename>{name}.jpg</filename>
<size><width>500</width><height>375</height><depth>3</depth></size>{objects}</annotation>"""
VOC_OBJECT = """<object><name>{0}</name><pose>x</pose><truncated>0</truncated>
<difficult>{1}</difficult><bndbox><xmin>{2}</xmin><ymin>{3}</ymin><xmax>{4}</xmax><ymax>{5}</ymax>
</bndbox></object>"""


@pytest.fixture
def voc(tmp_path):
    """Two images: a dog of 31 x 32 pixels (small), a difficult dog, a cat of 32 x 32; no object."""
    folder = tmp_path / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    objects = [("dog", 0, 1, 1, 31, 32), ("dog", 1, 100, 100, 199, 199), ("cat", 0, 61, 61, 92, 92)]
    text = "".join(VOC_OBJECT.format(*values) for values in objects)
    for name, content in (("000001", text), ("000002", "")):
        xml = VOC_XML.format(name=name, objects=content)
        (folder / "Annotations" / f"{name}.xml").write_text(xml)
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n")
    names = ["cat", "dog"]
    DatasetCatalog.register("voc_scene", lambda: load_voc_instances(str(folder), "test", names))
    MetadataCatalog.get("voc_scene").set(
        thing_classes=names, dirname=str(folder), split="test", year=2007
    )


def test_voc_takes_difficult_from_the_xml_and_inclusive_widths(voc, tmp_path):
    data = coco_of(records_of("voc_scene"))
    assert [row["difficult"] for row in data["annotations"]] == [0, 1, 0]
    assert [row["area"] for row in data["annotations"]] == [31 * 32, 100 * 100, 32 * 32]
    results = [
        {"image_id": "000001", "category_id": 1, "bbox": [0, 0, 31, 32], "score": 0.9},
        {"image_id": "000001", "category_id": 1, "bbox": [99, 99, 100, 100], "score": 0.8},
        {"image_id": "000001", "category_id": 0, "bbox": [300, 99, 10, 10], "score": 0.2},
    ]
    out = tmp_path / "out"
    evaluator = RecallBySizeEvaluator("voc_scene", output_dir=out)
    metrics = feed_voc(evaluator, results)
    assert metrics["objects_small"] == metrics["objects_medium"] == 1
    assert metrics["objects_large"] == 0
    assert metrics["recall_small_0.3"] == 100
    assert metrics["recall_medium_0.3"] == 0
    assert metrics["fp_per_image_0.3"] == 0
    assert metrics["fp_per_image_0.1"] == 0.5
    # What it writes is what `scb-d2 recall` and `compare` read.
    truth = load_ground_truth(out / "coco_annotations.json")
    again = evaluate_recall(truth, load_detections(out / "coco_instances_results.json", truth))
    assert metrics == pytest.approx(flat_metrics(again), nan_ok=True)


def feed_voc(evaluator, results):
    instances = Instances((375, 500))
    boxes = [BoxMode.convert(row["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) for row in results]
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
    instances.scores = torch.tensor([row["score"] for row in results])
    instances.pred_classes = torch.tensor([row["category_id"] for row in results])
    image = {"image_id": "000001", "height": 375, "width": 500, "image": torch.zeros(3, 375, 500)}
    evaluator.process([image], [{"instances": instances}])
    return evaluator.evaluate()["recall"]


@pytest.mark.parametrize("backend", ["pycocotools", "hotcoco", "auto"])
def test_coco_backends_give_the_same_numbers(tmp_path, backend):
    if backend == "hotcoco":
        pytest.importorskip("hotcoco")
    data, results = register(tmp_path)
    stock = SafeCOCOEvaluator("scene", output_dir=str(tmp_path / "a"), backend="pycocotools")
    other = SafeCOCOEvaluator("scene", output_dir=str(tmp_path / "b"), backend=backend)
    expected = feed(stock, data, results).evaluate()
    got = feed(other, data, results).evaluate()
    assert got["bbox"] == pytest.approx(expected["bbox"], nan_ok=True, abs=1e-10)
    name = "coco_instances_results.json"
    rows = json.loads((tmp_path / "b" / name).read_text())
    assert {row["category_id"] for row in rows} == {1, 3}


@pytest.mark.parametrize("seed", range(15))
def test_hotcoco_equals_pycocotools_on_random_scenes(seed):
    pytest.importorskip("hotcoco")
    data, results = random_scene(seed)
    stock = coco_eval(data, results)
    fast = coco_eval(data, results, eval_class=coco_eval_class("hotcoco"))
    np.testing.assert_allclose(fast.stats, stock.stats, atol=1e-12)
    np.testing.assert_allclose(fast.eval["precision"], stock.eval["precision"], atol=1e-12)


def test_unknown_and_missing_backends_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="COCO_BACKEND"):
        coco_eval_class("fastest")
    monkeypatch.setattr(coco_backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="hotcoco"):
        coco_eval_class("hotcoco")
    assert coco_eval_class("auto").__module__ == "pycocotools.cocoeval"


def test_no_detections_are_ap_0_with_every_backend(tmp_path):
    data, _ = register(tmp_path)
    evaluator = SafeCOCOEvaluator("scene", output_dir=str(tmp_path / "a"))
    assert feed(evaluator, data, []).evaluate()["bbox"]["AP"] == 0


def test_config_keys_become_settings():
    cfg = get_cfg()
    add_scb_config(cfg)
    assert recall_settings(cfg) == RecallSettings()
    cfg.merge_from_list(
        ["TEST.RECALL.THRESHOLDS", "[0.2]", "TEST.RECALL.MATCH", "any"]
        + ["TEST.RECALL.AREA_EDGES", "[256, 1024.0]", "TEST.RECALL.MAX_DETECTIONS", "200"]
    )
    settings = recall_settings(cfg)
    assert settings.thresholds == (0.2,)
    assert settings.bins.edges == (256, 1024)
    assert (settings.match, settings.max_detections) == ("any", 200)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("IOU", 2.0),
        ("MATCH", "best"),
        ("AREA", "mask"),
        ("THRESHOLDS", ["a"]),
        ("AREA_EDGES", [5.0, 3.0]),
        ("FP_PER_IMAGE", [-1.0]),
        ("MAX_DETECTIONS", -1),
    ],
)
def test_wrong_values_name_the_key(key, value):
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.TEST.RECALL[key] = value
    with pytest.raises(ConfigError, match=r"TEST\.RECALL"):
        recall_settings(cfg)
