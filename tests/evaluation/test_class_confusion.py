"""Recall and confusion by class: hand-counted scenes, and a slow matcher beside the fast one."""

import json

import numpy as np
import pytest

from scb_d2.cli import main
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import ConfigError
from scb_d2.evaluation.class_confusion import class_markdown, confuse_classes
from scb_d2.evaluation.detection_matching import match_by_score
from tests.evaluation.scenes import annotations, random_scene, result


def confused(data, results, **settings):
    ground_truth = load_ground_truth(data)
    return confuse_classes(ground_truth, load_detections(results, ground_truth), **settings)


def test_a_hand_counted_scene():
    data = annotations(
        {"bbox": [0, 0, 20, 20]},  # cat, found
        {"bbox": [100, 0, 20, 20]},  # cat, taken for a dog
        {"bbox": [200, 0, 20, 20], "category_id": 3},  # dog, missed
        {"bbox": [300, 0, 20, 20], "iscrowd": 1},
        images=2,
    )
    results = [
        result([0, 0, 20, 20], 0.9),
        result([0, 0, 20, 20], 0.8),  # a second detection of the same cat
        result([100, 0, 20, 20], 0.7, category_id=3),
        result([300, 0, 20, 20], 0.6),  # on the crowd: neither right nor wrong
        result([200, 0, 20, 20], 0.4, category_id=3),  # below the threshold
        result([0, 100, 20, 20], 0.9, image_id=2, category_id=3),  # nothing there
    ]
    found = confused(data, results, threshold=0.5)
    #                         cat dog missed
    assert found.matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]
    row = found.to_json()["classes"]["dog"]
    assert row["recall"] == 0 and row["precision"] == 0
    assert row["false_positives"] == 2 and row["fp_per_image"] == 1
    assert found.confused() == [("cat", "dog", 1)]
    assert "50.00 (1/2)" in class_markdown(found)


def test_classes_of_one_name_and_names_that_a_table_would_take_for_its_own():
    data = annotations({"bbox": [0, 0, 20, 20]}, {"bbox": [50, 0, 20, 20], "category_id": 3})
    data["categories"] = [c | {"name": "a|b\nc"} for c in data["categories"]]
    found = confused(data, [result([0, 0, 20, 20], 0.9)])
    rows = found.to_json()["classes"]
    assert [row["recall"] for row in rows.values()] == [100.0, 0.0]
    ids = [category["id"] for category in data["categories"]]
    assert list(rows) == [f"a|b\nc ({i})" for i in ids]
    text = class_markdown(found)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in tables[:4]}) == 1
    assert sum("a\\|b c (" in line for line in tables) == 2 + 1 + 2


def test_an_object_of_its_own_class_is_found_before_another_class_may_take_it():
    data = annotations({"bbox": [0, 0, 20, 20]})
    results = [result([0, 0, 20, 20], 0.9, category_id=3), result([0, 0, 20, 18], 0.6)]
    assert confused(data, results).matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(6))
def test_against_a_plain_loop(seed):
    data, results = random_scene(seed)
    ground_truth = load_ground_truth(data)
    threshold = 0.3
    fast = confused(data, results, threshold=threshold)
    kept = load_detections([r for r in results if r["score"] >= threshold], ground_truth)
    matches = match_by_score(ground_truth, kept)
    found = [i for i in range(len(ground_truth)) if matches.object_score[i] > -np.inf]
    free = [i for i in range(len(ground_truth)) if i not in found and not ground_truth.ignored[i]]
    slow = np.zeros((3, 3), dtype=int)
    for i in found:
        if not ground_truth.ignored[i]:
            slow[(ground_truth.category[i],) * 2] += 1
    for d in sorted(np.flatnonzero(matches.outcome == 0), key=lambda d: -kept.scores[d]):
        rivals = [
            (_iou(kept.boxes[d], ground_truth.boxes[i]), i)
            for i in free
            if ground_truth.image[i] == kept.image[d]
        ]
        iou, best = max(rivals, default=(0, None))
        if iou >= 0.5:
            free.remove(best)
            slow[ground_truth.category[best], kept.category[d]] += 1
        else:
            slow[2, kept.category[d]] += 1
    for i in free:
        slow[ground_truth.category[i], 2] += 1
    assert fast.matrix.tolist() == slow.tolist()
    assert fast.objects.sum() == (~ground_truth.ignored).sum()


def test_many_classes_list_the_worst_pairs_only():
    data = annotations({"bbox": [0, 0, 20, 20]})
    data["categories"] = [{"id": n, "name": f"class {n}"} for n in range(1, 15)]
    page = class_markdown(confused(data, [result([0, 0, 20, 20], 0.9, category_id=14)]))
    assert "| class 1  | class 14      | 1        |" in page and "missed" not in page


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="finite"):
        confused(annotations({"bbox": [0, 0, 20, 20]}), [], threshold=float("nan"))


def test_command(tmp_path, capsys):
    (tmp_path / "truth.json").write_text(json.dumps(annotations({"bbox": [10, 10, 20, 20]})))
    (tmp_path / "results.json").write_text(json.dumps([result([10, 10, 20, 20], 0.2)]))
    files = [str(tmp_path / "results.json"), str(tmp_path / "truth.json")]
    out = tmp_path / "out"
    assert main(["recall", *files, "--by-class", "0.1", "--output", str(out)]) == 0
    assert "Confusion of classes" in capsys.readouterr().out
    assert json.loads((out / "by_class.json").read_text())["classes"]["cat"]["found"] == 1
    assert main(["recall", *files, "--by-class", "--output", str(out)]) == 0  # from 0.5 on
    assert json.loads((out / "by_class.json").read_text())["classes"]["cat"]["found"] == 0


def _iou(a, b):
    end, start = np.minimum(a[:2] + a[2:], b[:2] + b[2:]), np.maximum(a[:2], b[:2])
    overlap = np.prod(np.maximum(end - start, 0))
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)
