"""Objects that the candidate gains and loses, by size and match count."""

import json
from pathlib import Path

import pytest

from scb_d2.compare.gained_lost import load_match_counts
from scb_d2.compare.run import compare_arms
from scb_d2.compare.run_files import Run
from scb_d2.compare.runs import Arms
from scb_d2.compare.settings import CompareSettings
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import DataError

from .simulated_runs import scene


def test_gained_and_lost_objects_by_size_and_match_count(tmp_path):
    data = scene(2)
    truth = load_ground_truth(data)
    exact = [
        {"image_id": row["image_id"], "category_id": 1, "bbox": row["bbox"], "score": 0.9}
        for row in data["annotations"]
    ]
    base, cand = ([exact[n] for n in ids] for ids in ((0, 2, 3), (1, 2, 3, 4)))
    run = Run("x", Path("results.json"), {}, None)
    pair = tuple(load_detections(rows, truth) for rows in (base, cand))
    arms = Arms(truth, None, ((run, run),), (pair,), None)
    counts = {"1": 0, "2": 1, "3": 30, "4": 3, "5": 1}
    comparison = compare_arms(arms, CompareSettings(resamples=0), match_counts=counts)
    changes = comparison.result["changes"]
    columns = ("objects", "gained", "lost", "net")
    sizes = {n: tuple(row[c] for c in columns) for n, row in changes["by_size"].items()}
    assert sizes == {
        "all": (6, 2, 1, 1),
        "small": (4, 2, 1, 1),
        "medium": (2, 0, 0, 0),
        "large": (0, 0, 0, 0),
    }
    by_count = {n: tuple(r[c] for c in columns) for n, r in changes["by_match_count"].items()}
    assert by_count == {
        "0": (1, 0, 1, -1),
        "1": (2, 2, 0, 2),
        "2": (0, 0, 0, 0),
        "3-5": (1, 0, 0, 0),
        "6-10": (0, 0, 0, 0),
        ">10": (1, 0, 0, 0),
        "unknown": (1, 0, 0, 0),
    }
    listed = [
        (row["image_id"], row["gained"], row["lost"]) for row in comparison.result["pictures"]
    ]
    assert listed == [(1, 1, 1), (2, 1, 0)]


@pytest.mark.parametrize(
    ("content", "says"), [([1], "JSON object"), ({"1": -1}, "whole number"), ({"x": 1}, "none of")]
)
def test_bad_match_counts(tmp_path, content, says):
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=says):
        load_match_counts(path, load_ground_truth(scene(2)))
