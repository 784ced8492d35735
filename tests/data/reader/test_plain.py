"""What msgspec decodes means what the tolerant reader says of it, or is left to that one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import DataError
from tests.evaluation.scenes import annotations, random_scene, result

pytest.importorskip("msgspec")
from scb_d2.data.reader.plain import plain_coco, plain_results

PLAIN = "scb_d2.data.reader.plain"
# Pieces of JSON that some tool writes, or none.
ODD = st.sampled_from(
    ["0", "1", "2", "-0", "-1", "3", "1.0", "2e0", "1.5", "-0.0", "0.30000000000000004", "1e400"]
    + ["5e-324", "9007199254740991", "9007199254740992", "9007199254740993", "1e16"]
    + ["9223372036854775808", "18446744073709551616", "1" + "0" * 400, "01", "+1", ".5", "1."]
    + ["true", "false", "null", "NaN", "-Infinity", '""', '"1"', '"01"', '"x"', '"nan"', "tru"]
    + ['"a\\\\b.jpg"', '"\\u0031"', '"\\ud800"', '"\ud800"', '"\xe9"', '"\t"', "[]", "[1]", "{}"]
    + ["[1, 2, 3, 4]", "[1, 2, 30, 40.5]", "[1, 2, 3, -4]", '[1, 2, 3, "4"]', "[1, 2, 3, NaN]"]
    + ["[1, 2, 3, 4, 5]", "[1, 2, 3, true]", "[1, 2, 3, null]", "[1, 2, 3, 1e16]", "[1,]", ""]
    + ["[[1, 2, 3, 4, 5, 6]]", "[1, 2, 1" + "0" * 400 + ", 4]", "[900, 2, 3, 4]"]
)  # fmt: skip
ROW_KEYS = ["image_id", "category_id", "bbox", "score", "segmentation", "id", "\\u0073core", "x"]
OBJECT_KEYS = ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "difficult", "ignore"]
OBJECT_KEYS += ["keypoints", "segmentation", "x"]
PART_KEYS = {"images": ["id", "file_name", "width", "height"], "categories": ["id", "name"]}
PART_KEYS["annotations"] = OBJECT_KEYS
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])

# An entry is a list of keys and pieces, so that a key may come twice.
Entry = list[tuple[str, str]]
Changes = list[tuple[str, int, str, str | None, bool]]


def _entries(rows: list[dict[str, Any]]) -> list[Entry]:
    return [[(key, json.dumps(value)) for key, value in row.items()] for row in rows]


def _change(entries: list[Entry], place: int, key: str, piece: str | None, twice: bool) -> None:
    """Set, repeat or (None) drop one key of one entry."""
    place %= len(entries)
    if not twice:
        entries[place] = [pair for pair in entries[place] if pair[0] != key]
    if piece is not None:
        entries[place].append((key, piece))


def _text(entries: list[Entry]) -> str:
    rows = (", ".join(f'"{key}": {piece}' for key, piece in entry) for entry in entries)
    return f"[{', '.join(f'{{{row}}}' for row in rows)}]"


def _outcome(load: Callable[[], Any]) -> Any:
    """Columns with their types, or the sentence."""
    try:
        loaded = load()
    except DataError as error:
        return str(error)
    columns = dataclasses.asdict(loaded).items()
    return {
        key: (value.dtype, value.shape, repr(value.tolist()))
        if isinstance(value, np.ndarray)
        else repr(value)
        for key, value in columns
    }


def _same_without_msgspec(load: Callable[[], Any]) -> Any:
    outcome = _outcome(load)
    with patch.dict(sys.modules, {PLAIN: None}):
        assert _outcome(load) == outcome
    return outcome


def _write(path: Path, text: str, encoding: str) -> None:
    errors = "surrogatepass" if encoding.startswith("utf") else "replace"
    path.write_bytes(text.encode(encoding, errors))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(ROW_KEYS), st.none() | ODD, st.booleans()),
        max_size=2,
    ),
    ENCODINGS,
)
def test_results_mean_the_same_by_either_reader(
    folder: Path, changes: list[tuple[int, str, str | None, bool]], encoding: str
) -> None:
    truth = load_ground_truth(annotations(images=2))
    rows = [{"score": 0.25, "image_id": 2}, {"bbox": [1.5, 2, 3, 4]}, {"category_id": 3}]
    entries = _entries([{**result([10, 10, 20, 20], 0.5), **row} for row in rows])
    for change in changes:
        _change(entries, *change)
    path = folder / "results.json"
    _write(path, _text(entries), encoding)
    _same_without_msgspec(lambda: load_detections(path, truth))


@given(
    st.lists(
        st.sampled_from(list(PART_KEYS)).flatmap(
            lambda part: st.tuples(
                st.just(part), st.integers(0, 2), st.sampled_from(PART_KEYS[part]),
                st.none() | ODD, st.booleans(),
            )
        ),
        max_size=2,
    ),
    ENCODINGS,
)  # fmt: skip
def test_objects_mean_the_same_by_either_reader(
    folder: Path, changes: Changes, encoding: str
) -> None:
    crowd = {"bbox": [5, 6, 7.5, 8], "iscrowd": 1, "image_id": 3}
    others = {"bbox": [1, 2, 3, 4], "category_id": 3}, {"bbox": [10, 20, 30.25, 40], "difficult": 1}
    data = annotations(crowd, *others, images=3)
    data["images"].reverse()
    parts = {part: _entries(data[part]) for part in PART_KEYS}
    for part, *change in changes:
        _change(parts[part], *change)
    text = ", ".join(f'"{part}": {_text(entries)}' for part, entries in parts.items())
    path = folder / "truth.json"
    _write(path, f"{{{text}}}", encoding)
    _same_without_msgspec(lambda: load_ground_truth(path))


@pytest.mark.parametrize(
    "content",
    ["", "[", "1", "{}", "[]", "[1]", "[[]]", '{"images": []}', "[" * 5000 + "]" * 5000, "\ufeff[]"]
    + ['{"images": [], "annotations": [], "categories": []}']
    + ['[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1' + "0" * 5000 + "}]"],
)
def test_other_files_mean_the_same_by_either_reader(tmp_path: Path, content: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(content)
    truth = load_ground_truth(annotations())
    _same_without_msgspec(lambda: load_ground_truth(path))
    _same_without_msgspec(lambda: load_detections(path, truth))


def test_what_tools_write_is_plain(tmp_path: Path) -> None:
    data, results = random_scene(0)
    for row in data["annotations"]:
        row |= {"segmentation": [[1, 2, 3, 4, 5, 6]], "ignore": 0}
    for row in results:
        row |= {"id": 1, "segmentation": {"size": [3, 4], "counts": "0"}}
    texts = {"truth.json": json.dumps(data, indent=1), "results.json": json.dumps(results)}
    assert plain_coco(texts["truth.json"].encode()) is not None
    assert plain_results(texts["results.json"].encode()) is not None
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    outcome = _same_without_msgspec(lambda: load_ground_truth(tmp_path / "truth.json"))
    assert outcome["boxes"][1] == (len(data["annotations"]), 4)
    truth = load_ground_truth(tmp_path / "truth.json")
    outcome = _same_without_msgspec(lambda: load_detections(tmp_path / "results.json", truth))
    assert outcome["boxes"][1] == (len(results), 4)


def test_text_ids_are_plain(tmp_path: Path) -> None:
    data = annotations({"bbox": [1, 2, 3, 4], "image_id": "b"}, {"bbox": [5, 6, 7, 8]}, images=3)
    data["images"][1]["id"] = "b"
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(data))
    assert plain_coco(path.read_bytes()) is not None
    outcome = _same_without_msgspec(lambda: load_ground_truth(path))
    assert outcome["image_ids"] == "(1, 3, 'b')"
    assert outcome["image"][2] == "[0, 2]"
