"""Results of other frameworks: what cannot be meant is refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from scb_d2.data.reader.coco import parse_coco
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import GroundTruth, columns_of
from scb_d2.errors import DataError
from tests.data.cases.builders import coco_content


@pytest.fixture
def truth() -> GroundTruth:
    return columns_of(parse_coco(coco_content(), "plain"))


def _perfect(score: Any = 0.9) -> list[dict[str, Any]]:
    keys = ("image_id", "category_id", "bbox")
    return [
        {**{key: a[key] for key in keys}, "score": score} for a in coco_content()["annotations"]
    ]


def test_boxes_that_are_corners_are_refused(truth: GroundTruth) -> None:
    rows = _perfect()
    for row in rows:
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]
    with pytest.raises(DataError, match=r"but fit as corners \[x1, y1, x2, y2\]: 6 \(result 1 wi"):
        load_detections(rows, truth, "r.json")


def test_boxes_that_leave_their_image_otherwise_are_taken(truth: GroundTruth) -> None:
    rows = _perfect()
    for row in rows:  # as of a detector that does not clip
        row["bbox"][2] += 60
    assert len(load_detections(rows, truth)) == len(rows)


@pytest.mark.parametrize(("score", "warned"), [(90, True), (1.0, False)])
def test_scores_above_one_are_warned_of(
    score: float, warned: bool, truth: GroundTruth, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_detections(_perfect(score), truth, "r.json")
    assert [r.getMessage()[:30] for r in caplog.records] == [
        "r.json: has scores above 1, up"
    ] * warned
