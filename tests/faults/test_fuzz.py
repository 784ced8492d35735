"""Random inputs against plain Python, and random files that must be read or refused in a sentence.

A fixed small number of cases by default; ten thousand of each with ``HYPOTHESIS_PROFILE=long``.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scb_d2 import object_weights
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.engine.config.yaml_errors import read_yaml
from scb_d2.errors import ConfigError, DataError
from scb_d2.loss.matching import anchor_weights, match_counts
from tests.data.builders import check_coco

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=4), x),
    max_leaves=8,
)


def _mostly(value: st.SearchStrategy) -> st.SearchStrategy:
    """Mostly values of the right kind, so that the wrong ones are met deep inside."""
    return st.integers(0, 9).flatmap(lambda die: VALUES if die == 0 else value)


IDS = st.integers(0, 3)
BOX = st.lists(st.floats(-5, 50), min_size=4, max_size=4)


def _objects(**fields: st.SearchStrategy) -> st.SearchStrategy:
    entry = st.fixed_dictionaries({}, optional={k: _mostly(v) for k, v in fields.items()})
    whole = st.fixed_dictionaries({key: _mostly(value) for key, value in fields.items()})
    return _mostly(st.lists(_mostly(whole | entry), max_size=4))


COCO = st.fixed_dictionaries(
    {
        "images": _objects(
            id=IDS, file_name=st.sampled_from(["a", "../a", "/a"]), width=IDS, height=IDS
        ),
        "annotations": _objects(
            id=IDS,
            image_id=IDS,
            category_id=IDS,
            bbox=BOX,
            area=st.floats(0, 99),
            iscrowd=st.sampled_from([0, 1]),
        ),
        "categories": _objects(id=IDS, name=st.sampled_from(["a", "b"])),
    }
)
RESULTS = _objects(image_id=IDS, category_id=IDS, bbox=BOX, score=st.floats(0, 1))
TRUTH = {
    "images": [{"id": i, "file_name": "a", "width": 50, "height": 50} for i in range(4)],
    "annotations": [],
    "categories": [{"id": i, "name": str(i)} for i in range(4)],
}


@given(st.integers(1, 10**6), st.floats(0.01, 100), st.floats(0.01, 100))
def test_weights_are_the_paper_s(count: int, alpha: float, beta: float) -> None:
    expected = {
        "information": beta * (math.log(count) + alpha) / count,
        "inverse_sqrt": beta / math.sqrt(count),
        "inverse": beta / count,
        "inverse_log": beta / (math.log(count) + alpha),
        "uniform": beta,
    }
    for form, value in expected.items():
        found = object_weights(torch.tensor([count]), form=form, alpha=alpha, beta=beta)
        assert found.item() == pytest.approx(value, rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-1, 0, 1])), max_size=30))
def test_counts_and_weights_are_those_of_a_loop(anchors: list[tuple[int, int]]) -> None:
    matched_idxs = torch.tensor([index for index, _ in anchors], dtype=torch.int64)
    labels = torch.tensor([label for _, label in anchors], dtype=torch.int8)
    counts = match_counts(matched_idxs, labels, 6)
    assert counts.tolist() == [anchors.count((index, 1)) for index in range(6)]
    weights = anchor_weights(matched_idxs, labels, torch.arange(6.0) + 2)
    assert weights.tolist() == [index + 2.0 if label == 1 else 1.0 for index, label in anchors]


@given(COCO | VALUES)
def test_any_json_is_checked_without_a_crash(content: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_text(json.dumps(content))
        report = check_coco("mine", path, folder)
    assert all("\n" not in finding.message for finding in report.findings)


@given(RESULTS | VALUES)
def test_any_results_are_read_or_refused(content: Any) -> None:
    truth = load_ground_truth(TRUTH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.json")
        path.write_text(json.dumps(content))
        try:
            detections = load_detections(path, truth)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert len(detections) == len(content)


@given(COCO | VALUES)
def test_any_annotations_are_read_or_refused(content: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_text(json.dumps(content))
        try:
            load_ground_truth(path)
        except DataError as error:
            assert "\n" not in str(error)


@given(
    st.text(alphabet="AB:[]{}!-, \n'\"&*1.e#|>%@`\t?", max_size=60)
    | st.binary(max_size=40).map(lambda data: data.decode("latin1"))
)
def test_any_yaml_is_read_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.yaml")
        path.write_text(text, encoding="utf-8")
        try:
            assert isinstance(read_yaml(str(path)), dict)
        except ConfigError as error:
            assert "\n" not in str(error)
