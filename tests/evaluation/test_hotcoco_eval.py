"""hotcoco behind pycocotools' interface gives pycocotools' arrays to the last bit that counts."""

import copy
import io
import multiprocessing
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .scenes import random_scene

pytest.importorskip("hotcoco")
from scb_d2.evaluation.hotcoco_eval import HotCOCOeval

NUM_KEYPOINTS = 17


def _evaluated(eval_class: type[COCOeval], scene: Any, task: str, **params: Any) -> COCOeval:
    data, results = copy.deepcopy(scene)
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data
        truth.createIndex()
        evaluation = eval_class(truth, truth.loadRes(results), task)
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _mask(box: list[float], rng: np.random.Generator) -> dict[str, Any]:
    """A box with holes, as the RLE of JSON files."""
    x, y, width, height = (int(v) for v in box)
    pixels = np.zeros((300, 400), np.uint8)
    pixels[max(y, 0) : y + height + 1, max(x, 0) : x + width + 1] = 1
    pixels &= rng.random(pixels.shape) < 0.9
    encoded = mask_util.encode(np.asfortranarray(pixels))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def _keypoints(box: list[float], rng: np.random.Generator) -> list[float]:
    points = np.empty((NUM_KEYPOINTS, 3))
    points[:, 0] = box[0] + rng.random(NUM_KEYPOINTS) * box[2]
    points[:, 1] = box[1] + rng.random(NUM_KEYPOINTS) * box[3]
    points[:, 2] = rng.integers(0, 3, NUM_KEYPOINTS)
    return points.ravel().tolist()


def _scene(seed: int, task: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    data, results = random_scene(seed, images=5)
    rng = np.random.default_rng(seed)
    for row in (*data["annotations"], *results):
        if task == "segm":
            row["segmentation"] = _mask(row["bbox"], rng)
        elif task == "keypoints":
            row["keypoints"] = _keypoints(row["bbox"], rng)
            row["num_keypoints"] = int(np.sum(np.array(row["keypoints"])[2::3] > 0))
    if task != "bbox":  # as Detectron2 strips them, so that a detection's area is its mask's
        for row in results:
            del row["bbox"]
    return data, results


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("seed", range(6))
def test_arrays_equal_pycocotools(seed: int, task: str) -> None:
    scene = _scene(seed, task)
    stock, fast = (_evaluated(x, scene, task) for x in (COCOeval, HotCOCOeval))
    for name in ("precision", "recall", "scores"):
        np.testing.assert_allclose(fast.eval[name], stock.eval[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fast.stats, stock.stats, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "params",
    [{"imgIds": [3, 1]}, {"useCats": 0}, {"maxDets": [2, 1, 3]}, {"catIds": [3]}],
)
def test_settings_are_heeded(params: dict[str, Any]) -> None:
    scene = _scene(3, "bbox")
    stock, fast = (_evaluated(x, scene, "bbox", **params) for x in (COCOeval, HotCOCOeval))
    np.testing.assert_allclose(fast.eval["precision"], stock.eval["precision"], rtol=0, atol=1e-12)
    plain = _evaluated(COCOeval, scene, "bbox")
    assert plain.eval["precision"].shape != stock.eval["precision"].shape or not np.array_equal(
        plain.eval["precision"], stock.eval["precision"]
    )


def test_more_than_100_detections_of_one_class() -> None:
    data, results = _scene(5, "bbox")
    image = data["images"][0]["id"]
    twins = [
        {"image_id": image, "category_id": 1, "bbox": [float(n), 0.0, 20.0, 20.0], "score": 0.5}
        for n in range(130)
    ]
    scene = data, results + twins
    stock, fast = (_evaluated(x, scene, "bbox") for x in (COCOeval, HotCOCOeval))
    np.testing.assert_allclose(fast.eval["precision"], stock.eval["precision"], rtol=0, atol=1e-12)


def test_annotations_that_it_does_not_take_go_to_pycocotools(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data, results = _scene(4, "bbox")
    data["annotations"][0]["id"] = -1
    scene = data, results
    stock, fast = (_evaluated(x, scene, "bbox") for x in (COCOeval, HotCOCOeval))
    np.testing.assert_array_equal(fast.eval["precision"], stock.eval["precision"])
    assert "pycocotools does" in caplog.text


def test_annotation_id_0_is_matched() -> None:
    """pycocotools marks an unmatched detection by 0, and so loses the object with that id."""
    data, _ = _scene(0, "bbox")
    data["annotations"] = [
        {"id": 0, "image_id": data["images"][0]["id"], "category_id": 1, "iscrowd": 0}
        | {"bbox": [10.0, 10.0, 50.0, 50.0], "area": 2500.0}
    ]
    found = [{**data["annotations"][0], "score": 0.9}]
    assert _evaluated(HotCOCOeval, (data, found), "bbox").stats[0] == pytest.approx(1)


def test_a_forked_process_does_not_wait_for_its_parents_threads() -> None:
    scene = _scene(1, "bbox")
    expected = _evaluated(HotCOCOeval, scene, "bbox").stats
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def evaluate() -> None:
        queue.put(_evaluated(HotCOCOeval, scene, "bbox").stats)

    child = context.Process(target=evaluate, daemon=True)
    child.start()
    np.testing.assert_allclose(queue.get(timeout=60), expected, rtol=0, atol=1e-12)
    child.join()
