"""Malformed files give one sentence that names the file, the entry and what is allowed."""

import json
import sys
from urllib.error import URLError

import pytest
from detectron2.utils.file_io import PathManager

from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import DataError
from tests.evaluation.scenes import annotations, result

GOOD = result([10, 10, 20, 20], 0.5)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**GOOD, "image_id": 7}, "image_id 7"),
        ({**GOOD, "category_id": 2}, "category_id 2"),
        ({**GOOD, "score": float("nan")}, "score nan"),
        ({**GOOD, "score": float("inf")}, "score inf"),
        ({**GOOD, "score": None}, "score"),
        ({**GOOD, "score": "high"}, "score is not a number"),
        ({**GOOD, "bbox": [1, 2, 3]}, "four numbers"),
        ({**GOOD, "bbox": [1, 2, 3, "x"]}, "four numbers"),
        ({**GOOD, "score": 10**400}, "score is not a number"),
        ({**GOOD, "bbox": [1, 2, 10**400, 4]}, "four numbers"),
        ({**GOOD, "bbox": [1, 2, float("nan"), 4]}, "finite"),
        ({**GOOD, "bbox": [1, 2, -3, 4]}, "not negative"),
        ({**GOOD, "bbox": [500, 10, 20, 20]}, "outside its image"),
        ({**GOOD, "bbox": [-50, 10, 20, 20]}, "outside its image"),
        *[({k: v for k, v in GOOD.items() if k != key}, f"'{key}'") for key in GOOD],
        ("row", "'image_id'"),
    ],
)
def test_bad_results(row, says):
    truth = load_ground_truth(annotations({"bbox": [10, 10, 20, 20]}))
    with pytest.raises(DataError) as error:
        load_detections([GOOD, row], truth, "my_results.json")
    assert str(error.value).startswith("my_results.json: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_scores_in_lists_are_no_numbers():
    truth = load_ground_truth(annotations({"bbox": [10, 10, 20, 20]}))
    with pytest.raises(DataError, match="a score is not a number"):
        load_detections([{**GOOD, "score": [0.5]}] * 2, truth)


def test_boxes_that_reach_over_the_edge_are_fine():
    truth = load_ground_truth(annotations())
    assert len(load_detections([result([-5, -5, 20, 20], 0.5)], truth)) == 1


def test_results_must_be_a_list():
    with pytest.raises(DataError, match="must be a list"):
        load_detections({"annotations": []}, load_ground_truth(annotations()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("categories"), "'categories' must be a list of objects and is missing"),
        (lambda d: d["annotations"][0].pop("bbox"), "a category_id or a bbox: 1"),
        (lambda d: d["annotations"][0].update(image_id=9), "image_id 9"),
        (lambda d: d["images"].append({"width": 3}), "images without an id"),
        (lambda d: d["images"].append({"id": 1}), "image ids that are used more than once"),
    ],
)
def test_bad_annotations(change, says):
    data = annotations({"bbox": [10, 10, 20, 20]})
    change(data)
    with pytest.raises(DataError, match=says):
        load_ground_truth(data, "truth.json")


def test_optional_fields_of_annotations():
    data = annotations({"bbox": [10, 10, 20, 20]})
    data["annotations"][0].pop("area")
    data["annotations"][0].pop("iscrowd")
    for image in data["images"]:
        image.pop("width")
    truth = load_ground_truth(data)
    assert truth.area.tolist() == [400]
    assert not truth.ignored.any()
    assert len(load_detections([result([500, 10, 20, 20], 0.5)], truth)) == 1


def test_file_names_that_are_no_text_are_none_where_they_are_not_needed():
    data = annotations({"bbox": [10, 10, 20, 20]}, images=2)
    data["images"][0]["file_name"] = 7
    assert load_ground_truth(data).file_names == ("", "2.jpg")


@pytest.mark.parametrize("content", ["", "[", "{'a': 1}"])
def test_files_that_are_not_json(tmp_path, content):
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(DataError, match="is not JSON"):
        load_ground_truth(path)
    with pytest.raises(DataError, match="does not exist"):
        load_ground_truth(tmp_path / "none.json")


def test_an_address_that_cannot_be_reached_says_why(monkeypatch):
    def refuse(path):
        raise URLError("no route")

    monkeypatch.setattr(PathManager, "get_local_path", refuse)
    with pytest.raises(DataError, match="cannot be read: <urlopen error no route>"):
        load_ground_truth("https://example.org/truth.json")


@pytest.mark.parametrize("without_msgspec", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_results_are_the_same_by_either_parser(tmp_path, monkeypatch, encoding, without_msgspec):
    if without_msgspec:
        monkeypatch.setitem(sys.modules, "scb_d2.data.reader.plain", None)
    data = annotations({"bbox": [10, 10, 20, 20]}, images=2)
    rows = [{**GOOD, "image_id": 2.0, "score": 1e-5}, {**GOOD, "bbox": [1, 2.5, 3, 4]}]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows), encoding=encoding)
    found = load_detections(path, load_ground_truth(data))
    assert found.image.tolist() == [1, 0] and found.category.tolist() == [0, 0]
    assert found.boxes.tolist() == [[10, 10, 20, 20], [1, 2.5, 3, 4]]
    assert found.scores.tolist() == [1e-5, 0.5]


def test_ids_beyond_64_bits_stay_apart(tmp_path):
    """Both are the same number as a float."""
    ids = [10**20, 10**20 + 1]
    data = annotations(images=2)
    for image, number in zip(data["images"], ids, strict=True):
        image["id"] = number
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{**GOOD, "image_id": number} for number in reversed(ids)]))
    assert load_detections(path, load_ground_truth(data)).image.tolist() == [1, 0]


@pytest.mark.parametrize("content", ["[NaN", "[", "nul"])
def test_results_that_are_not_json(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"The results file .* is not JSON"):
        load_detections(path, load_ground_truth(annotations()))
