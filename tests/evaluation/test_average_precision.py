"""AP and AR equal pycocotools', also with weighted images."""

import copy

import numpy as np
import pytest

from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.evaluation import average_precision
from scb_d2.evaluation.average_precision import PrecisionTable
from scb_d2.evaluation.size_bins import SizeBins

from .scenes import annotations, coco_eval, random_scene, result

KEYS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def table_of(data, results, **options):
    truth = load_ground_truth(data)
    return PrecisionTable.from_detections(truth, load_detections(results, truth), **options)


def stats(evaluation):
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats * 100)


@pytest.mark.parametrize("seed", range(25))
def test_all_twelve_numbers_equal_pycocotools(seed):
    data, results = random_scene(seed, images=1 + 2 * seed)
    metrics = table_of(data, results).metrics()
    assert [*metrics] == KEYS
    np.testing.assert_allclose([*metrics.values()], stats(coco_eval(data, results)), atol=1e-9)


@pytest.mark.parametrize("seed", range(9))
def test_a_weighted_image_counts_as_so_many_copies(seed):
    data, results = random_scene(seed)
    # Without ties between images, whose order copies would change.
    rng = np.random.default_rng(seed)
    for row, score in zip(results, rng.permutation(len(results)), strict=True):
        row["score"] = float(score)
    weights = np.random.default_rng(seed).integers(0, 4, len(data["images"]))
    metrics = table_of(data, results).metrics(weights)

    copies, copied_results = {**data, "images": [], "annotations": []}, []
    for image, weight in zip(sorted(i["id"] for i in data["images"]), weights, strict=True):
        for number in range(weight):
            new = image * 100 + number
            copies["images"].append({"id": new, "width": 400, "height": 300})
            for rows, target in (
                (data["annotations"], copies["annotations"]),
                (results, copied_results),
            ):
                for row in rows:
                    if row["image_id"] == image:
                        target.append({**copy.deepcopy(row), "image_id": new})
    for number, row in enumerate(copies["annotations"], start=1):
        row["id"] = number
    expected = stats(coco_eval(copies, copied_results))
    np.testing.assert_allclose([*metrics.values()], expected, atol=1e-9)


@pytest.mark.parametrize(("at_once", "block"), [(1, 64), (7, 2), (1 << 14, 3), (1 << 14, 64)])
def test_many_weights_at_once_are_each_alone(monkeypatch, at_once, block):
    monkeypatch.setattr(average_precision, "_AT_ONCE", at_once)
    monkeypatch.setattr(average_precision, "_BLOCK", block)
    data, results = random_scene(3, images=20)
    table = table_of(data, results)
    weights = np.random.default_rng(0).integers(0, 3, (5, 20))
    weights[2] = 0
    found = table.ap_metrics(weights)
    for row, alone in enumerate(weights):
        expected = table.metrics(alone)
        for name, values in found.items():
            np.testing.assert_equal(values[row], expected[name])
    assert np.isnan(found["AP"]).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("width", [1, 3, 70])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 63, 64, 65, 500])
def test_cumulative_counts_are_numpys(length, width):
    """One block, some, and one that is just full."""
    counts = np.random.default_rng(length).integers(-3, 4, (length, width), dtype=np.int32)
    expected = np.concatenate([np.zeros((1, width)), np.cumsum(counts, axis=0)])
    np.testing.assert_equal(average_precision._running(counts), expected)


def test_at_most_a_hundred_detections_per_image_and_class_count():
    data = annotations({"bbox": [10, 10, 20, 20]})
    results = [result([100, 100, 20, 20], 0.9 - n / 1000) for n in range(100)]
    results.append(result([10, 10, 20, 20], 0.1))
    assert table_of(data, results).metrics()["AP"] == 0
    assert table_of(data, results[1:]).metrics()["AP"] == pytest.approx(1.0)


def test_perfect_detections_score_100_and_absent_sizes_are_nan():
    data = annotations({"bbox": [10, 10, 20, 20]}, {"bbox": [50, 50, 60, 60], "category_id": 3})
    perfect = [result([10, 10, 20, 20], 0.9), result([50, 50, 60, 60], 0.8, category_id=3)]
    metrics = table_of(data, perfect).metrics()
    assert [metrics[key] for key in ("AP", "APs", "APm", "AR1", "ARs")] == [100] * 5
    assert np.isnan([metrics["APl"], metrics["ARl"]]).all()


def test_no_detections_score_0():
    metrics = table_of(annotations({"bbox": [10, 10, 20, 20]}), []).metrics()
    assert metrics["AP"] == metrics["APs"] == metrics["AR100"] == 0


def test_no_objects_are_nan():
    metrics = table_of(annotations(), [result([10, 10, 20, 20], 0.9)]).metrics()
    assert np.isnan([*metrics.values()]).all()


def test_own_bins_and_scaled_areas_equal_pycocotools_with_these_ranges():
    data, results = random_scene(5)
    scaled, scaled_results = copy.deepcopy(data), copy.deepcopy(results)
    for row in (*scaled["annotations"], *scaled_results):
        row["bbox"] = [value * 2 for value in row["bbox"]]
        row["area"] = row["bbox"][2] * row["bbox"][3]
    ranges = [[0, 1e10], [0, 256], [256, 4096], [4096, 20000], [20000, 1e10]]
    labels = ["all", "a", "b", "c", "d"]
    precision = coco_eval(scaled, scaled_results, areaRng=ranges, areaRngLbl=labels).eval[
        "precision"
    ][..., -1]
    truth = load_ground_truth(data)
    scales = np.full(truth.num_images, 4.0)
    metrics = table_of(
        data,
        results,
        bins=SizeBins((256, 4096, 20000)),
        areas=truth.boxes[:, 2] * truth.boxes[:, 3] * 4,
        area_scales=scales,
    ).metrics()
    names = ["AP", "AP-0-256", "AP-256-4096", "AP-4096-20000", "AP-20000-inf"]
    for area, name in enumerate(names):
        values = precision[:, :, :, area]
        assert metrics[name] == pytest.approx(100 * values[values > -1].mean(), abs=1e-9)
