"""Detections of tiles merged into those of the whole image."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from PIL import Image

from scb_d2 import get_cfg
from scb_d2.data.registration import register_coco
from scb_d2.engine.config.load import load_config
from scb_d2.engine.training.trainer import Trainer
from scb_d2.errors import ConfigError
from scb_d2.evaluation.tiled_detection import (
    TiledModel,
    TileSettings,
    detect_in_tiles,
    lazy_tile_settings,
    merge_tiles,
    tile_settings,
)

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = TileSettings(size=60, overlap=0.0, whole_image=False)


def found(*boxes, scores=None, classes=None):
    instances = Instances((60, 60))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores or [0.9] * len(boxes))
    instances.pred_classes = torch.tensor(classes or [0] * len(boxes), dtype=torch.int64)
    return instances


def merged(*parts, size=(60, 100), settings=SETTINGS):
    result = merge_tiles(parts, size, settings)
    rows = zip(result.pred_boxes.tensor.tolist(), result.scores.tolist(), strict=True)
    return [(box, round(score, 3)) for box, score in rows]


FIRST, SECOND, WHOLE = (0, 0, 60, 60), (40, 0, 100, 60), (0, 0, 100, 60)


def test_an_object_seen_twice_is_one():
    parts = [(found([45, 10, 55, 20]), FIRST), (found([5, 10, 15, 20], scores=[0.8]), SECOND)]
    assert merged(*parts) == [([45, 10, 55, 20], 0.9)]


def test_the_rest_of_an_object_goes_even_where_its_score_is_higher():
    """50 to 90 is whole in the second tile; the first shows a quarter, at its border."""
    rest = found([50, 30, 60, 40], scores=[0.95])
    parts = [(rest, FIRST), (found([10, 30, 50, 40], scores=[0.6]), SECOND)]
    assert merged(*parts) == [([50, 30, 90, 40], 0.6)]


def test_the_rest_of_another_class_and_one_without_a_whole_stay():
    rest = found([50, 30, 60, 40], scores=[0.95], classes=[1])
    parts = [(rest, FIRST), (found([10, 30, 50, 40], scores=[0.6]), SECOND)]
    assert len(merged(*parts)) == 2
    assert merged((found([50, 30, 60, 40]), FIRST)) == [([50, 30, 60, 40], 0.9)]


def test_a_box_at_the_border_of_the_image_is_whole():
    """It would otherwise give way to the larger box that covers it."""
    parts = [
        (found([0, 0, 10, 10], scores=[0.9]), FIRST),
        (found([0, 0, 30, 30], scores=[0.5]), WHOLE),
    ]
    assert len(merged(*parts)) == 2


def test_no_more_detections_than_asked_for_and_none_of_nothing():
    settings = TileSettings(size=60, detections_per_image=1)
    parts = [(found([1, 1, 9, 9], [20, 20, 30, 30], scores=[0.3, 0.7]), FIRST)]
    assert merged(*parts, settings=settings) == [([20, 20, 30, 30], 0.7)]
    assert merged((found(), FIRST), (found(), SECOND)) == []


def test_masks_are_refused():
    instances = found([1, 1, 9, 9])
    instances.pred_masks = torch.zeros(1, 60, 60, dtype=torch.bool)
    with pytest.raises(ConfigError, match="boxes only; the model also gives pred_masks"):
        merge_tiles([(instances, FIRST)], (60, 100), SETTINGS)


def test_an_image_of_one_tile_keeps_what_the_detector_gives():
    """Two boxes of IoU 0.6 that the detector's own NMS kept, and more than the merge would."""
    untiled = found([0, 0, 10, 10], [0, 2.5, 10, 12.5], scores=[0.4, 0.9])
    settings = TileSettings(size=60, detections_per_image=1)
    result = detect_in_tiles(lambda image: untiled, np.zeros((50, 60, 3), np.uint8), settings)
    assert result is untiled
    untiled.pred_masks = torch.zeros(2, 50, 60, dtype=torch.bool)
    with pytest.raises(ConfigError, match="pred_masks"):
        detect_in_tiles(lambda image: untiled, np.zeros((50, 60, 3), np.uint8), settings)


def test_a_model_without_detections_is_refused(tmp_path):
    class Proposals(torch.nn.Module):
        def forward(self, batched_inputs):
            return [{"proposals": None}]

    Image.new("RGB", (40, 40)).save(tmp_path / "1.png")
    mapper = SimpleNamespace(augmentations=T.AugmentationList([]), image_format="RGB")
    model = TiledModel(Proposals(), mapper, TileSettings(size=32))
    with pytest.raises(ConfigError, match="gives proposals and no instances"):
        model([{"file_name": str(tmp_path / "1.png")}])


@pytest.mark.parametrize("whole_image", [True, False])
def test_a_perfect_detector_of_tiles_is_one_of_images(whole_image):
    """Bright rectangles, found by their pixels; objects of up to the overlap come out whole."""
    rng = np.random.default_rng(0)
    image, truth = np.zeros((200, 300, 3), dtype=np.uint8), []
    for row in range(5):
        for column in range(6):
            x, y = (int(v) for v in (50 * column, 40 * row) + rng.integers(2, 20, 2))
            width, height = (int(v) for v in rng.integers(5, 18, 2))
            image[y : y + height, x : x + width] = len(truth) + 1
            truth.append([x, y, x + width, y + height])

    def detect(part):
        boxes, scores = [], []
        for value in np.unique(part[..., 0])[1:]:
            rows, columns = np.nonzero(part[..., 0] == value)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(float(rng.uniform(0.1, 1)))
        return found(*boxes, scores=scores)

    settings = TileSettings(size=90, overlap=0.25, whole_image=whole_image)
    result = detect_in_tiles(detect, image, settings)
    assert result.image_size == (200, 300)
    assert sorted(map(tuple, result.pred_boxes.tensor.tolist())) == sorted(map(tuple, truth))


def test_evaluation_runs_on_whole_images(tmp_path):
    """A detector that reads the objects from the pixels: its AP on tiles is 100 too."""
    image = np.zeros((96, 160, 3), dtype=np.uint8)
    boxes = [[10, 10, 20, 20], [70, 30, 24, 16], [140, 80, 12, 12]]
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = 255
    Image.fromarray(image).save(tmp_path / "1.png")
    rows = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, b in enumerate(boxes)
    ]
    images = [{"id": 1, "file_name": "1.png", "height": 96, "width": 160}]
    data = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "box"}]}
    (tmp_path / "a.json").write_text(json.dumps(data))
    register_coco("tiled_boxes", tmp_path / "a.json", tmp_path)
    opts = [
        "DATASETS.TEST",
        "('tiled_boxes',)",
        "INPUT.MIN_SIZE_TEST",
        0,
        "OUTPUT_DIR",
        str(tmp_path),
    ]
    opts += ["DATALOADER.NUM_WORKERS", 0, "TEST.RECALL.ENABLED", True]
    cfg = load_config(str(ROOT / "configs" / "retinanet.yaml"), [*opts, "TEST.TILES.SIZE", 64])

    seen = []

    class Reader(torch.nn.Module):
        def forward(self, batched_inputs):
            import cv2

            outputs = []
            for inputs in batched_inputs:
                pixels = inputs["image"][0].numpy()
                seen.append(pixels.shape)
                _, _, stats, _ = cv2.connectedComponentsWithStats((pixels > 127).astype(np.uint8))
                own = [[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:].tolist()]
                outputs.append({"instances": found(*own)})
            return outputs

    results = Trainer.test(cfg, Reader())
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["recall"]["recall_all_0.1"] == 100
    assert (64, 64) in seen and (96, 160) in seen


def test_keys_that_do_not_fit_are_refused():
    cfg = get_cfg()
    assert tile_settings(cfg) is None
    cfg.TEST.TILES.SIZE = 16
    with pytest.raises(ConfigError, match=r"TEST\.TILES\.SIZE must be"):
        tile_settings(cfg)
    cfg.TEST.TILES.SIZE, cfg.TEST.TILES.NMS_THRESH = 512, 0.0
    with pytest.raises(ConfigError, match=r"TEST\.TILES\.NMS_THRESH must be an IoU"):
        tile_settings(cfg)
    cfg.TEST.TILES.NMS_THRESH, cfg.MODEL.MASK_ON = 0.5, True
    with pytest.raises(ConfigError, match="boxes only"):
        tile_settings(cfg)
    cfg.MODEL.MASK_ON, cfg.TEST.RECALL.ENABLED, cfg.TEST.RECALL.AREA = False, True, "input"
    with pytest.raises(ConfigError, match=r"TEST\.RECALL\.AREA 'input'"):
        tile_settings(cfg)
    with pytest.raises(ConfigError, match=r"train\.tiles\.nms_threshold must be an IoU"):
        lazy_tile_settings({"size": 512, "nms_threshold": 1.5})
    assert lazy_tile_settings({"size": 0}) is None
    assert lazy_tile_settings({"size": 512, "overlap": 0.5}).overlap == 0.5
    with pytest.raises(ConfigError, match=r"train\.tiles: takes size, overlap"):
        lazy_tile_settings({"side": 512})
