"""Matching equals a plain-Python loop, and pycocotools where both measure the same."""

import numpy as np
import pytest

from scb_d2.data.reader.detections import Detections, load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import ConfigError
from scb_d2.evaluation import pairs as overlaps
from scb_d2.evaluation.detection_matching import greedy_match, match_by_score
from scb_d2.evaluation.ordering import ranges, sorted_by_score
from scb_d2.evaluation.pairs import find_pairs

from .scenes import annotations, coco_eval, oracle, random_scene, result


def matches_of(data, results, **options):
    truth = load_ground_truth(data)
    return truth, match_by_score(truth, load_detections(results, truth), **options)


@pytest.mark.parametrize("rule", ["greedy", "any"])
@pytest.mark.parametrize("seed", range(20))
def test_every_threshold_equals_the_plain_python_loop(seed, rule):
    data, results = random_scene(seed)
    truth, matches = matches_of(data, results, rule=rule)
    scores = np.array([row["score"] for row in results])
    for threshold in (0.0, 0.1, 0.3, 0.5, 0.9):
        found, right, wrong = oracle(data, results, threshold, rule)
        hits = (matches.object_score >= threshold) & ~truth.ignored
        assert set(truth.object_ids[hits]) == found
        kept = scores >= threshold
        assert (matches.outcome[kept] == 1).sum() == right
        assert (matches.outcome[kept] == 0).sum() == len(wrong)


@pytest.mark.parametrize("seed", range(10))
def test_all_matches_equal_pycocotools(seed):
    data, results = random_scene(seed)
    truth = load_ground_truth(data)
    detections = load_detections(results, truth)
    ranges = np.array([(0, 1e10), (0, 1024), (1024, 9216), (9216, 1e10)])
    outside = (truth.area < ranges[:, :1]) | (truth.area > ranges[:, 1:])
    pairs = find_pairs(truth, detections, 0.5)
    thresholds = np.linspace(0.5, 0.95, 10)
    taken = greedy_match(pairs, thresholds, truth.ignored | outside, truth.ignored)

    evaluation = coco_eval(data, results)
    expected = np.zeros((4, 10, len(results) + 1), dtype=int)
    for row in filter(None, evaluation.evalImgs):
        area = ranges.tolist().index([float(v) for v in row["aRng"]])
        # COCO numbers the detections from 1 in the order of the file.
        expected[area][:, row["dtIds"]] = row["dtMatches"]
    ids = np.zeros((4, 10, len(results)), dtype=int)
    area, threshold, pair = np.nonzero(taken)
    ids[area, threshold, pairs.order[pairs.detection[pair]]] = truth.object_ids[pairs.target[pair]]
    np.testing.assert_array_equal(ids, expected[:, :, 1:])
    # Both ways of matching had something to do.
    group = np.cumsum(pairs.rank == 0)[pairs.detection]
    chooses = np.isin(group, group[1:][np.diff(pairs.detection) == 0])
    assert 0 < chooses.sum() < len(chooses)


def test_of_two_detections_on_one_object_the_higher_score_wins():
    data = annotations({"bbox": [10, 10, 20, 20]})
    worse_box_higher_score = [result([10, 10, 20, 20], 0.4), result([12, 10, 20, 20], 0.8)]
    _, matches = matches_of(data, worse_box_higher_score)
    assert matches.object_score.tolist() == [0.8]
    assert matches.outcome.tolist() == [0, 1]


def test_a_detection_of_another_class_is_wrong_under_greedy_and_right_under_any():
    data = annotations({"bbox": [10, 10, 20, 20]})
    other_class = [result([10, 10, 20, 20], 0.8, category_id=3)]
    assert matches_of(data, other_class)[1].outcome.tolist() == [0]
    _, matches = matches_of(data, other_class, rule="any")
    assert matches.outcome.tolist() == [1]
    assert matches.object_score.tolist() == [0.8]


@pytest.mark.parametrize("flag", ["iscrowd", "difficult"])
@pytest.mark.parametrize("rule", ["greedy", "any"])
def test_detections_on_an_ignored_object_count_neither_way(flag, rule):
    data = annotations({"bbox": [10, 10, 20, 20], flag: 1})
    _, matches = matches_of(data, [result([10, 10, 20, 20], s) for s in (0.8, 0.7)], rule=rule)
    assert matches.outcome.tolist() == [-1, -1]


def test_a_real_object_goes_before_a_difficult_one_of_higher_iou():
    data = annotations({"bbox": [10, 10, 20, 20], "difficult": 1}, {"bbox": [10, 10, 20, 24]})
    _, matches = matches_of(data, [result([10, 10, 20, 20], 0.8)])
    assert matches.outcome.tolist() == [1]
    assert matches.object_score.tolist() == [-np.inf, 0.8]


def test_iou_of_exactly_the_threshold_matches():
    data = annotations({"bbox": [0, 0, 10, 10]})
    half = [result([0, 0, 10, 20], 0.8)]
    assert matches_of(data, half, iou=0.5)[1].outcome.tolist() == [1]
    assert matches_of(data, half, iou=0.51)[1].outcome.tolist() == [0]


def test_a_limit_keeps_the_highest_scores_of_an_image_and_class():
    data = annotations({"bbox": [0, 0, 10, 10]}, {"bbox": [50, 0, 10, 10]})
    rows = [result([0, 0, 10, 10], 0.2), result([50, 0, 10, 10], 0.9)]
    _, matches = matches_of(data, rows, max_detections=1)
    assert matches.object_score.tolist() == [-np.inf, 0.9]
    assert matches.outcome.tolist() == [-1, 1]


@pytest.mark.parametrize("rule", ["greedy", "any"])
def test_scenes_without_objects_or_detections(rule):
    nothing = annotations(images=3)
    assert matches_of(nothing, [], rule=rule)[1].object_score.shape == (0,)
    assert matches_of(nothing, [result([0, 0, 5, 5], 0.5)], rule=rule)[1].outcome.tolist() == [0]
    one = annotations({"bbox": [0, 0, 10, 10]})
    assert matches_of(one, [], rule=rule)[1].object_score.tolist() == [-np.inf]


def test_boxes_without_area_match_nothing_and_do_no_harm():
    data = annotations({"bbox": [10, 10, 0, 20]}, {"bbox": [10, 10, 20, 20]})
    _, matches = matches_of(data, [result([10, 10, 0, 0], 0.9), result([10, 10, 20, 20], 0.8)])
    assert matches.object_score.tolist() == [-np.inf, 0.8]
    assert matches.outcome.tolist() == [0, 1]


def test_working_in_pieces_changes_nothing(monkeypatch):
    data, results = random_scene(3)
    whole = matches_of(data, results)[1]
    monkeypatch.setattr(overlaps, "_PAIRS_AT_ONCE", 7)
    pieces = matches_of(data, results)[1]
    np.testing.assert_array_equal(whole.object_score, pieces.object_score)
    np.testing.assert_array_equal(whole.outcome, pieces.outcome)


@pytest.mark.parametrize("options", [{"iou": 0.0}, {"iou": 1.5}, {"rule": "best"}])
def test_wrong_options_are_named(options):
    with pytest.raises(ConfigError, match="must"):
        matches_of(annotations(), [], **options)


@pytest.mark.parametrize("cap", [None, 1, 2])
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75, 1.0])
def test_pairs_that_are_given_change_nothing(iou, cap):
    data, results = random_scene(4)
    truth = load_ground_truth(data)
    found = load_detections(results, truth)
    pairs = find_pairs(truth, found, 0.5)
    for rule in ("greedy", "any"):
        options = {"iou": iou, "rule": rule, "max_detections": cap}
        expected = match_by_score(truth, found, **options)
        given = match_by_score(truth, found, **options, pairs=pairs)
        np.testing.assert_array_equal(given.object_score, expected.object_score)
        np.testing.assert_array_equal(given.outcome, expected.outcome)


@pytest.mark.parametrize("largest", [3, 70_000])
def test_order_is_that_of_lexsort(largest):
    rng = np.random.default_rng(0)
    rank, first, second = rng.integers(0, largest + 1, (3, 200))
    order = sorted_by_score(rank, first, second)
    np.testing.assert_array_equal(order, np.lexsort((rank, first, second)))


def test_scores_are_ranked_from_the_highest_and_equal_ones_together():
    scores = np.array([0.5, 0.9, -0.0, 0.5, 0.0, 5e-324])
    found = Detections(np.zeros(6, int), np.zeros(6, int), np.zeros((6, 4)), scores)
    assert found.score_rank.tolist() == [1, 0, 3, 1, 3, 2]
    assert Detections(*np.zeros((4, 0))).score_rank.tolist() == []


def test_ranges_follow_one_another():
    assert ranges(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert ranges(np.zeros(0, int), np.zeros(0, int)).tolist() == []
