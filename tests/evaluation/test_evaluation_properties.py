"""Random scenes full of ties against a plain-Python loop, and against pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.evaluation.average_precision import PrecisionTable
from scb_d2.evaluation.recall import RecallSettings, evaluate_recall
from tests.evaluation.scenes import annotations, coco_eval, oracle, result

# On a coarse grid, so that boxes coincide, touch, and overlap by exactly a half.
PLACES = st.integers(0, 6).map(lambda n: 20.0 * n)
SIDES = st.sampled_from([10.0, 20.0, 32.0, 40.0, 96.0, 120.0])
BOXES = st.tuples(PLACES, PLACES, SIDES, SIDES).map(list)
IMAGES, CLASSES = st.integers(1, 3), st.sampled_from([1, 3])
SCORES = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
OBJECTS = st.fixed_dictionaries(
    {
        "bbox": BOXES,
        "image_id": IMAGES,
        "category_id": CLASSES,
        "iscrowd": st.sampled_from([0, 0, 0, 1]),
    }
)
RESULTS = st.builds(
    lambda bbox, score, image, category: result(
        bbox, score, image_id=image, category_id=category
    ),
    BOXES, SCORES, IMAGES, CLASSES,
)  # fmt: skip
SCENES = st.tuples(
    st.lists(OBJECTS, max_size=8).map(lambda objects: annotations(*objects, images=3)),
    st.lists(RESULTS, max_size=12),
)

Scene = tuple[dict[str, Any], list[dict[str, Any]]]

EDGES = (0, 32**2, 96**2, float("inf"))


@given(SCENES, st.sampled_from(["greedy", "any"]), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_recall_by_size_is_that_of_a_loop(scene: Scene, rule: str, limit: float) -> None:
    data, results = scene
    thresholds = (0.01, 0.3, 0.5)
    truth = load_ground_truth(data)
    settings = RecallSettings(thresholds=thresholds, match=rule, fp_per_image=(limit,))
    table = evaluate_recall(truth, load_detections(results, truth), settings)

    for threshold, row in zip(thresholds, table["thresholds"], strict=True):
        _assert_row(row, data, results, threshold, rule)
    (row,) = table["equal_false_positives"]
    for name in ("all", "small", "medium", "large"):
        wrong = {s: _by_size(oracle(data, results, s, rule)[2])[name] for s in _scores(results)}
        too_many = [score for score, count in wrong.items() if count > limit * 3]
        assert row["score_above"][name] == (max(too_many) if too_many else None)
        kept = np.nextafter(max(too_many), 2) if too_many else -1.0
        found, _, false = oracle(data, results, kept, rule)
        areas = [entry["area"] for entry in data["annotations"] if entry["id"] in found]
        assert row["hits"][name] == _by_size(areas)[name]
        assert row["false_positives"][name] == _by_size(false)[name]


def _scores(results: list) -> set[float]:
    return {row["score"] for row in results}


def _by_size(areas: list[float]) -> dict[str, int]:
    names = ("small", "medium", "large")
    limits = zip(names, EDGES, EDGES[1:], strict=False)
    counts = {name: sum(low <= area < high for area in areas) for name, low, high in limits}
    return {"all": len(areas)} | counts


def _assert_row(
    row: dict[str, Any], data: dict[str, Any], results: list, threshold: float, rule: str
) -> None:
    found, right, wrong = oracle(data, results, threshold, rule)
    assert row["true_positives"] == right
    assert row["false_positives"] == _by_size(wrong)
    counted = [entry for entry in data["annotations"] if not entry["iscrowd"]]
    hits, recall = {}, {}
    for name, lower, upper in zip(("small", "medium", "large"), EDGES, EDGES[1:], strict=False):
        ids = {entry["id"] for entry in counted if lower <= entry["area"] < upper}
        hits[name] = len(ids & found)
        recall[name] = 100 * hits[name] / len(ids) if ids else float("nan")
    assert {name: row["hits"][name] for name in hits} == hits
    assert row["hits"]["all"] == len(found)
    np.testing.assert_allclose([row["recall"][name] for name in recall], [*recall.values()])


@given(SCENES)
def test_average_precision_is_that_of_pycocotools(scene: Scene) -> None:
    data, results = scene
    truth = load_ground_truth(data)
    table = PrecisionTable.from_detections(truth, load_detections(results, truth))
    found = [*table.metrics().values()]
    if not results:  # which pycocotools cannot load
        assert all(np.isnan(value) or value == 0 for value in found)
        return
    stats = coco_eval(data, results).stats
    np.testing.assert_allclose(found, np.where(stats < 0, np.nan, stats * 100), atol=1e-9)
