"""Recall tables of perfect, empty, degenerate and hand-computed scenes, exact per threshold."""

import json

import numpy as np
import pytest

from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import ConfigError
from scb_d2.evaluation.detection_matching import match_by_score
from scb_d2.evaluation.recall import RecallSettings, evaluate_recall, flat_metrics
from scb_d2.evaluation.recall_curve import RecallTable
from scb_d2.evaluation.recall_report import recall_figure, recall_markdown
from scb_d2.evaluation.size_bins import SizeBins, input_scales, object_areas
from scb_d2.utils.plain_json import to_json

from .scenes import annotations, coco_eval, oracle, random_scene, result

SMALL_A, SMALL_B = [0, 0, 10, 10], [50, 0, 20, 20]
MEDIUM = [100, 100, 50, 50]
LARGE = [200, 100, 150, 150]
CROWD = [0, 200, 50, 50]


def evaluated(data, results, **settings):
    truth = load_ground_truth(data)
    return evaluate_recall(truth, load_detections(results, truth), RecallSettings(**settings))


def hand_scene():
    """Two images: two small, one medium, one large object, one crowd."""
    data = annotations(
        {"bbox": SMALL_A},
        {"bbox": SMALL_B},
        {"bbox": MEDIUM, "category_id": 3},
        {"bbox": CROWD, "iscrowd": 1},
        {"bbox": LARGE, "image_id": 2},
        images=2,
    )
    results = [
        result(SMALL_A, 0.9),
        result(SMALL_A, 0.8),  # a second box on a found object: false
        result(SMALL_B, 0.05),
        result(MEDIUM, 0.3, category_id=3),
        result(MEDIUM, 0.7),  # wrong class: false
        result(CROWD, 0.95),  # ignored
        result(LARGE, 0.2, image_id=2),
        result([0, 0, 60, 60], 0.02, image_id=2),  # background: false
    ]
    return data, results


def test_hand_scene_at_every_threshold():
    table = evaluated(*hand_scene(), thresholds=(0.01, 0.1, 0.3, 0.31))
    assert table["objects"] == {"all": 4, "small": 2, "medium": 1, "large": 1}
    assert table["ignored_objects"] == 1
    hits = [tuple(row["hits"].values()) for row in table["thresholds"]]
    # all, small, medium, large; 0.3 is kept at threshold 0.3
    assert hits == [(4, 2, 1, 1), (3, 1, 1, 1), (2, 1, 1, 0), (1, 1, 0, 0)]
    recall = [row["recall"]["small"] for row in table["thresholds"]]
    assert recall == [100, 50, 50, 50]
    # A false positive is of the size of its own box: 10 x 10, 50 x 50 and 60 x 60.
    false = [tuple(row["false_positives"].values()) for row in table["thresholds"]]
    assert false == [(3, 1, 2, 0), (2, 1, 1, 0), (2, 1, 1, 0), (2, 1, 1, 0)]
    assert [row["fp_per_image"]["all"] for row in table["thresholds"]] == [1.5, 1, 1, 1]
    assert table["thresholds"][0]["fp_per_image"]["small"] == 0.5
    precision = [row["precision"] for row in table["thresholds"]]
    assert precision == pytest.approx([400 / 7, 60, 50, 100 / 3])


def test_hand_scene_at_equal_false_positives():
    table = evaluated(*hand_scene(), fp_per_image=(0, 0.5, 1, 1.5, 9))
    rows = table["equal_false_positives"]
    # On two images: a small box scores 0.8, medium ones 0.7 and 0.02.
    above = [tuple(row["score_above"].values()) for row in rows]
    assert above == [
        (0.8, 0.8, 0.7, None),
        (0.7, None, 0.02, None),
        (0.02, None, None, None),
        (None, None, None, None),
        (None, None, None, None),
    ]
    false = [tuple(row["false_positives"].values()) for row in rows]
    assert false == [(0, 0, 0, 0), (1, 1, 1, 0), (2, 1, 2, 0), (3, 1, 2, 0), (3, 1, 2, 0)]
    assert [tuple(row["hits"].values()) for row in rows] == [
        (1, 1, 0, 1),
        (1, 2, 1, 1),
        (4, 2, 1, 1),
        (4, 2, 1, 1),
        (4, 2, 1, 1),
    ]


def test_a_shift_of_scores_between_sizes_is_no_gain_at_equal_false_positives():
    """Small boxes gain on large ones, true and false alike: no size is told better than before."""
    small = [[40 * n, 0, 10, 10] for n in range(4)]
    large = [[100 * n, 100, 96, 96] for n in range(2)]
    data = annotations(*({"bbox": box} for box in small + large))
    wrong = {"small": [300, 0, 10, 10], "large": [300, 100, 99, 99]}

    def run(shift):
        rows = [result(box, 0.4 - 0.01 * n + shift) for n, box in enumerate(small)]
        rows += [result(wrong["small"], 0.385 + shift), result(wrong["large"], 0.55)]
        return rows + [result(box, 0.6 - 0.1 * n) for n, box in enumerate(large)]

    before, after = (evaluated(data, run(shift), fp_per_image=(0,)) for shift in (0, 0.3))
    rows = [table["equal_false_positives"][0]["recall"] for table in (before, after)]
    assert rows[0]["small"] == rows[1]["small"] == 50
    assert rows[0]["large"] == rows[1]["large"] == 50
    pooled = [
        RecallTable.from_matches(truth, found, match_by_score(truth, found), SizeBins(), truth.area)
        .curve(np.ones(1, dtype=int))
        .at_false_positives(0)[0]
        .recall[1]
        for truth in [load_ground_truth(data)]
        for found in [load_detections(run(shift), truth) for shift in (0, 0.3)]
    ]
    assert pooled == [0, 50]  # what counting all false positives alike would make of it


def test_false_positives_of_one_score_come_together():
    data = annotations({"bbox": SMALL_A})
    results = [result(MEDIUM, 0.5), result(LARGE, 0.5), result(SMALL_A, 0.5)]
    rows = evaluated(data, results, fp_per_image=(1, 2))["equal_false_positives"]
    false = [row["false_positives"]["all"] for row in rows]
    assert [row["hits"]["all"] for row in rows] == [0, 1] and false == [0, 2]
    assert [row["hits"]["small"] for row in rows] == [1, 1]  # none of the false boxes is small


def test_hand_scene_in_the_papers_wording():
    table = evaluated(*hand_scene(), match="any")
    # The box of the wrong class and the second box are right here, and find the medium one at 0.7.
    assert [tuple(row["hits"].values()) for row in table["thresholds"]] == [
        (4, 2, 1, 1),
        (3, 1, 1, 1),
        (2, 1, 1, 0),
    ]
    assert [row["false_positives"]["all"] for row in table["thresholds"]] == [1, 0, 0]


def test_perfect_empty_and_objectless_scenes():
    data = annotations({"bbox": SMALL_A}, {"bbox": LARGE})
    perfect = evaluated(data, [result(SMALL_A, 1.0), result(LARGE, 1.0)])
    for row in perfect["thresholds"]:
        assert row["recall"]["small"] == row["recall"]["large"] == row["precision"] == 100
        assert np.isnan(row["recall"]["medium"])
        assert set(row["fp_per_image"].values()) == {0}
    empty = evaluated(data, [])
    assert [row["recall"]["small"] for row in empty["thresholds"]] == [0, 0, 0]
    assert empty["metrics"]["AP"] == 0
    objectless = evaluated(annotations(), [result(SMALL_A, 0.2)])
    assert [row["fp_per_image"]["all"] for row in objectless["thresholds"]] == [1, 1, 0]
    assert np.isnan(objectless["thresholds"][0]["recall"]["all"])


def by_size(areas):
    """How many areas there are: all, small, medium, large."""
    small, large = sum(a < 1024 for a in areas), sum(a >= 9216 for a in areas)
    return [len(areas), small, len(areas) - small - large, large]


@pytest.mark.parametrize("rule", ["greedy", "any"])
@pytest.mark.parametrize("seed", range(10))
def test_random_scenes_equal_the_plain_python_loop(seed, rule):
    data, results = random_scene(seed)
    table = evaluated(data, results, match=rule, thresholds=(0.0, 0.25, 0.5), fp_per_image=())
    real = {row["id"]: row["area"] for row in data["annotations"] if not row["iscrowd"]}
    for row in table["thresholds"]:
        found, right, wrong = oracle(data, results, row["threshold"], rule)
        areas = [real[number] for number in found]
        small, medium = sum(a < 1024 for a in areas), sum(1024 <= a < 9216 for a in areas)
        counts = (len(areas), small, medium, len(areas) - small - medium)
        assert tuple(row["hits"].values()) == counts
        assert row["true_positives"] == right
        assert [*row["false_positives"].values()] == by_size(wrong)


@pytest.mark.parametrize("seed", range(10))
def test_recall_without_threshold_equals_pycocotools(seed):
    data, results = random_scene(seed)
    for row in data["annotations"]:
        row["area"] += 0.5  # COCO counts an object on a limit in two sizes
    evaluation = coco_eval(data, results, useCats=1, iouThrs=np.array([0.5]))
    recall = evaluation.eval["recall"][0, :, :, -1]  # class, size
    counts = {c: evaluated(only(data, c), only(results, c), thresholds=(0,)) for c in (1, 3)}
    for index, category in enumerate((1, 3)):
        for size, name in enumerate(("all", "small", "medium", "large")):
            value = counts[category]["thresholds"][0]["recall"][name]
            expected = recall[index, size]
            # pycocotools lets objects of other sizes absorb a detection only after this size's.
            if name == "all":
                assert value == pytest.approx(100 * expected) or expected == -1
            elif expected >= 0:
                assert value <= 100 * expected + 1e-9


def only(rows, category):
    if isinstance(rows, dict):
        return rows | {"annotations": only(rows["annotations"], category)}
    return [row for row in rows if row["category_id"] == category]


def test_recall_by_size_equals_pycocotools_where_objects_do_not_overlap():
    data = annotations(
        *[{"bbox": [40 * n, 0, 10 + n, 10 + n]} for n in range(8)],
        *[{"bbox": [70 * n, 50, 50, 50], "area": 2500} for n in range(5)],
        *[{"bbox": [130 * n, 120, 120, 120]} for n in range(3)],
    )
    rng = np.random.default_rng(0)
    boxes = [row["bbox"] for row in data["annotations"] if rng.random() < 0.6]
    results = [result(box, float(rng.random())) for box in boxes]
    expected = coco_eval(data, results).eval["recall"][0, 0, :, -1] * 100
    row = evaluated(data, results, thresholds=(0,))["thresholds"][0]
    np.testing.assert_allclose([*row["recall"].values()], expected)


def test_a_weighted_image_counts_as_so_many_copies():
    data, results = hand_scene()
    truth = load_ground_truth(data)
    detections = load_detections(results, truth)
    table = RecallTable.from_matches(
        truth, detections, match_by_score(truth, detections), SizeBins(), truth.area
    )
    point = table.curve(np.array([3, 1])).at_score(0.1)
    assert point.objects.tolist() == [10, 6, 3, 1]
    assert point.hits.tolist() == [7, 3, 3, 1]
    assert point.false_positives.tolist() == [6, 3, 3, 0]


def test_size_rules_and_bins():
    # 31.5 x 31.5 is small in native pixels and medium at twice the size.
    data = annotations({"bbox": [0, 0, 31.5, 31.5], "area": 100.0}, {"bbox": [0, 0, 32, 32]})
    truth = load_ground_truth(data)
    scales = input_scales(truth.image_sizes, shortest_edge=(600, 1333))
    assert scales.tolist() == [4.0]
    assert input_scales(truth.image_sizes, shortest_edge=(600, 600)).tolist() == [2.25]
    assert input_scales(truth.image_sizes, fixed=(300, 300)).tolist() == [0.75]
    assert object_areas(truth, "annotation").tolist() == [100, 1024]
    assert object_areas(truth, "box").tolist() == [31.5**2, 1024]
    assert object_areas(truth, "input", scales).tolist() == [4 * 31.5**2, 4096]
    assert SizeBins().index(np.array([0, 1023.9, 1024, 9216])).tolist() == [0, 0, 1, 2]
    assert SizeBins((256, 1024, 4096)).names == ("0-256", "256-1024", "1024-4096", "4096-inf")


def test_voc_objects_have_the_papers_sizes(shared_data):
    truth = load_ground_truth(shared_data / "voc_boxes" / "voc07_test.json")
    sizes = np.bincount(SizeBins().index(object_areas(truth, "box")))
    assert sizes.tolist() == [516, 3813, 7703]


def test_flat_metrics_are_floats_under_documented_names():
    flat = flat_metrics(evaluated(*hand_scene()))
    assert all(isinstance(value, float) for value in flat.values())
    assert flat["recall_small_0.1"] == 50
    assert flat["hits_all_0.01"] == 4
    assert flat["objects_small"] == 2
    assert flat["fp_per_image_0.01"] == 1.5
    assert flat["recall_small_fp1"] == 100
    assert {"AP", "APs", "APm", "APl", "AR100", "ARs", "ARm", "ARl", "precision_0.3"} <= set(flat)


def test_figure_and_table_show_the_numbers_of_the_json():
    table = json.loads(to_json(evaluated(*hand_scene())))
    axes = recall_figure(table, "hand scene").axes[0]
    rows = table["thresholds"] + table["equal_false_positives"]
    for name, bars in zip(("small", "medium", "large"), axes.containers, strict=True):
        assert [bar.get_height() for bar in bars] == [row["recall"][name] for row in rows]
    page = recall_markdown(table, "hand scene")
    assert "50.00 (1/2)" in page
    assert "one-to-one" in page and "native pixels" in page


@pytest.mark.parametrize(
    "settings",
    [
        {"iou": 0},
        {"thresholds": ()},
        {"thresholds": (float("nan"),)},
        {"fp_per_image": (-1,)},
        {"match": "best"},
        {"area": "mask"},
        {"max_detections": 0},
    ],
)
def test_wrong_settings_are_named(settings):
    with pytest.raises(ConfigError):
        RecallSettings(**settings)


@pytest.mark.parametrize("edges", [(), (0,), (9216, 1024), (1024, float("inf"))])
def test_wrong_bins_are_named(edges):
    with pytest.raises(ConfigError, match="area limits"):
        SizeBins(edges)
