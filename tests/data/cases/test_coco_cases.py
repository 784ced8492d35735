"""Odd COCO files: each is used as it is meant by every command, or refused in one sentence."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scb_d2.cli import main
from scb_d2.data.checks import check_dataset
from scb_d2.data.checks.needs import Needs
from scb_d2.data.reader.catalog import read_dataset
from scb_d2.data.reader.coco import parse_coco
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import columns_of, load_ground_truth
from scb_d2.data.registration import register_coco
from scb_d2.errors import DataError
from scb_d2.evaluation.coco_backend import COCO_BACKENDS
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from scb_d2.evaluation.recall_evaluator import RecallBySizeEvaluator
from scb_d2.matches.setup import load_records

from .builders import OBJECTS, Change, coco_content, evaluate, write_coco

NUM_OBJECTS = sum(map(len, OBJECTS.values()))


def _each(entries: str, **changes: Any) -> Change:
    """Change a field of every image, annotation or category; a callable gets the old value."""

    def change(content: dict[str, Any]) -> None:
        for entry in content[entries]:
            for key, value in changes.items():
                entry[key] = value(entry[key]) if callable(value) else value

    return change


def _both(*changes: Change) -> Change:
    return lambda content: [change(content) for change in changes]


def _without(entries: str, *keys: str) -> Change:
    return lambda content: [entry.pop(key) for entry in content[entries] for key in keys]


def _ids_of_images(kind: Callable[[int], Any], referred: Callable[[int], Any]) -> Change:
    return _both(_each("images", id=kind), _each("annotations", image_id=referred))


def _ids_of_categories(kind: Callable[[int], Any], referred: Callable[[int], Any]) -> Change:
    return _both(_each("categories", id=kind), _each("annotations", category_id=referred))


# What is odd, and the codes of the notes that tell of it.
MEANT: dict[str, tuple[Change, set[str]]] = {
    "plain": (lambda content: None, set()),
    "text annotation ids": (_each("annotations", id=lambda n: f"a{n}"), set()),
    "negative annotation ids": (_each("annotations", id=lambda n: -n), set()),
    "huge annotation ids": (_each("annotations", id=lambda n: n + 2**62), set()),
    "annotation ids from 0": (_each("annotations", id=lambda n: n - 1), set()),
    "no annotation ids": (_without("annotations", "id"), {"no-annotation-id"}),
    "text image ids": (_ids_of_images(str, str), set()),
    "image ids from 0": (_ids_of_images(lambda n: n - 1, lambda n: n - 1), set()),
    "negative image ids": (_ids_of_images(lambda n: -n, lambda n: -n), set()),
    "huge image ids": (_ids_of_images(lambda n: n + 2**60, lambda n: n + 2**60), set()),
    "float image ids referred to": (_ids_of_images(int, float), {"other-id"}),
    "text image ids referred to": (_ids_of_images(int, str), {"other-id"}),
    "category ids from 0": (_ids_of_categories(lambda n: n - 1, lambda n: n - 1), set()),
    "category ids with gaps": (_ids_of_categories(lambda n: 7 * n, lambda n: 7 * n), set()),
    "text category ids": (_ids_of_categories(str, str), set()),
    "text category ids referred to": (_ids_of_categories(int, str), {"other-id"}),
    "float category ids referred to": (_ids_of_categories(int, float), {"other-id"}),
    "category id true": (_ids_of_categories(lambda n: n == 1 or n, int), set()),
    "crowd null": (_each("annotations", iscrowd=None), {"other-flag"}),
    "crowd false": (_each("annotations", iscrowd=False), {"other-flag"}),
    "crowd 0.0": (_each("annotations", iscrowd=0.0), {"other-flag"}),
    "crowd text": (_each("annotations", iscrowd="0"), {"other-flag"}),
    "half of the crowds null": (
        lambda content: [a.update(iscrowd=None) for a in content["annotations"][::2]],
        {"other-flag"},
    ),
    "no crowd": (_without("annotations", "iscrowd"), set()),
    "no area": (_without("annotations", "area", "segmentation"), {"computed-area"}),
    "area 0": (_each("annotations", area=0), {"computed-area"}),
    "area null": (_each("annotations", area=None), {"computed-area"}),
    "area text": (_each("annotations", area=str), {"text-number"}),
    "box of texts": (_each("annotations", bbox=lambda b: list(map(str, b))), {"text-number"}),
    "box of floats": (_each("annotations", bbox=lambda b: list(map(float, b))), set()),
    "size text": (_each("images", width=str), {"text-number"}),
    "size missing": (_without("images", "width", "height"), {"size-from-image"}),
    "size 0": (_each("images", width=0), {"size-from-image"}),
    "image ids that are texts of floats": (
        _ids_of_images(lambda n: f"{n}.0", int),
        {"other-id"},
    ),
    "backslashes": (_each("images", file_name=lambda n: f".\\{n}"), {"backslash"}),
    "backslashes and no size": (
        _both(
            _without("images", "width", "height"),
            _each("images", file_name=lambda n: f".\\{n}"),
        ),
        {"backslash", "size-from-image"},
    ),
    "names as in addresses": (
        _each("images", file_name=lambda n: n.replace(".", "%2E")),
        {"escaped-name"},
    ),
    "polygons too short": (_each("annotations", segmentation=[[1, 2, 3, 4]]), {"unusable-mask"}),
    "masks empty": (_each("annotations", segmentation=[]), {"unusable-mask"}),
    "masks null": (_each("annotations", segmentation=None), {"unusable-mask"}),
    "masks missing": (_without("annotations", "segmentation"), set()),
}

REFUSED: dict[str, tuple[Change, str]] = {
    "nan": (
        lambda c: c["annotations"][0].update(bbox=[1, 2, float("nan"), 5]),
        "has boxes that are not four finite numbers [x, y, width, height]: 1 (annotation 1 with",
    ),
    "shares": (
        _each("annotations", bbox=lambda b: [b[0] / 64, b[1] / 48, b[2] / 64, b[3] / 48]),
        "has boxes in shares of the image, from 0 to 1; [x, y, width, height] in pixels are needed",
    ),
    "corners": (
        _each("annotations", bbox=lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
        "has boxes that leave their image, but fit as corners [x1, y1, x2, y2]; [x, y, width,",
    ),
    "size swapped": (
        _each("images", width=48, height=64),
        "has another width or height than the image files, turned by EXIF: 4 (",
    ),
    "crowd of words": (
        _each("annotations", iscrowd="maybe"),
        "has values of 'iscrowd' that are neither 0 nor 1: 8 (annotation 1 with iscrowd 'maybe',",
    ),
    "no extent": (
        _each("annotations", bbox=lambda b: [*b[:2], 0, 0]),
        "has no object to train on: its boxes have no width or height.",
    ),
    "unknown image": (
        lambda c: c["annotations"][0].update(image_id="x"),
        "has annotations of an image_id that is not among its images: 1 (annotation 1 with "
        "image_id 'x').",
    ),
    "upper-case file names": (
        _each("images", file_name=str.upper),
        "names image files that do not exist: 4 (",
    ),
}


def _register(tmp_path: Path, change: Change) -> Path:
    json_file, images = write_coco(tmp_path, change)
    register_coco("odd", json_file, images)
    return json_file


@pytest.mark.parametrize("case", MEANT)
def test_the_check_notes_what_is_odd(case: str, tmp_path: Path) -> None:
    change, codes = MEANT[case]
    _register(tmp_path, change)
    report = check_dataset("odd", headers=None)
    assert {f.code for f in report.findings} == {*codes, "empty-image"}
    assert {f.severity for f in report.findings} == {"note"}
    assert (report.num_images, report.num_annotations) == (4, NUM_OBJECTS)


@pytest.mark.parametrize("case", MEANT)
def test_training_and_matches_see_every_object(case: str, tmp_path: Path) -> None:
    _register(tmp_path, MEANT[case][0])
    plain = parse_coco(coco_content(), "plain", tmp_path / "images").images
    for records in (DatasetCatalog.get("odd"), load_records("odd")[0]):
        assert len(records) == 4
        for record in records:  # text ids may come in another order
            (twin,) = (p for p in plain if p["file_name"] == record["file_name"])
            assert (record["height"], record["width"]) == (twin["height"], twin["width"])
            for key in ("bbox", "category_id", "iscrowd", "area", "bbox_mode"):
                found = [a[key] for a in record["annotations"]]
                assert found == [a[key] for a in twin["annotations"]], key


@pytest.mark.parametrize("backend", COCO_BACKENDS)
@pytest.mark.parametrize("case", MEANT)
def test_perfect_detections_have_ap_100(case: str, backend: str, tmp_path: Path) -> None:
    if backend not in ("auto", "pycocotools"):
        pytest.importorskip(backend)
    json_file = _register(tmp_path, MEANT[case][0])
    output = tmp_path / "out"
    records = DatasetCatalog.get("odd")
    found = evaluate(SafeCOCOEvaluator("odd", output_dir=str(output), backend=backend), records)
    assert found["bbox"]["AP"] == pytest.approx(100)
    assert found["bbox"]["AP-cell"] == found["bbox"]["AP-plate"] == pytest.approx(100)
    # The results keep the file's own ids, by which recall and compare read them.
    truth = load_ground_truth(json_file)
    detections = load_detections(output / "coco_instances_results.json", truth)
    assert len(detections) == len(truth) == NUM_OBJECTS
    assert sorted(map(tuple, detections.boxes)) == sorted(map(tuple, truth.boxes))


@pytest.mark.parametrize("case", MEANT)
def test_recall_of_perfect_detections_is_100(case: str, tmp_path: Path) -> None:
    _register(tmp_path, MEANT[case][0])
    found = evaluate(RecallBySizeEvaluator("odd"), DatasetCatalog.get("odd"))["recall"]
    assert found["recall_all_0.3"] == 100
    assert found["objects_all"] == NUM_OBJECTS
    assert found["AP"] == pytest.approx(100)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_named(case: str, tmp_path: Path) -> None:
    change, sentence = REFUSED[case]
    json_file = _register(tmp_path, change)
    with pytest.raises(DataError) as refused:
        check_dataset("odd", headers=None).raise_first_error()
    start = f"The annotation file {json_file} {sentence}"
    assert str(refused.value)[: len(start)] == start


@pytest.mark.parametrize("case", ["nan", "crowd of words", "unknown image"])
def test_a_faulty_entry_stops_those_who_do_not_check(case: str, tmp_path: Path) -> None:
    change, sentence = REFUSED[case]
    json_file = _register(tmp_path, change)
    for read in (
        lambda: DatasetCatalog.get("odd"),
        lambda: load_ground_truth(json_file),
        lambda: SafeCOCOEvaluator("odd"),
        lambda: load_records("odd"),
    ):
        with pytest.raises(DataError) as refused:
            read()
        assert sentence.split(":")[0] in str(refused.value)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (b"", "utf-16-be")],
)
def test_byte_order_marks_are_skipped(tmp_path: Path, mark: bytes, encoding: str) -> None:
    json_file = _register(tmp_path, lambda content: None)
    json_file.write_bytes(mark + json_file.read_text().encode(encoding))
    assert read_dataset("odd").num_annotations == NUM_OBJECTS
    codes = {f.code for f in check_dataset("odd").findings}
    assert ("byte-order-mark" in codes) == (mark == codecs.BOM_UTF8)


def test_a_crowd_written_as_text_is_a_crowd(tmp_path: Path) -> None:
    _register(tmp_path, lambda c: [a.update(iscrowd="1") for a in c["annotations"][:2]])
    assert columns_of(read_dataset("odd")).crowd.tolist() == [True] * 2 + [False] * 6


def test_a_file_that_lists_an_image_twice_is_warned_of(tmp_path: Path) -> None:
    _register(tmp_path, lambda c: c["images"].append({**c["images"][0], "id": 9}))
    (warning,) = [f for f in check_dataset("odd").findings if f.severity != "note"]
    assert (warning.severity, warning.code) == ("warning", "duplicate-image-file")


RLE = {"size": [48, 64], "counts": [200, 9, 48 * 64 - 209]}


@pytest.mark.parametrize(
    ("segmentation", "mask_format", "code"),
    [
        ([[1, 2, 3, 4]], "polygon", "no-mask"),
        ([], "bitmask", "no-mask"),
        (None, "polygon", "no-mask"),
        (RLE, "polygon", "rle-mask"),
        (RLE, "bitmask", None),
        (RLE | {"size": [64, 48]}, "bitmask", "mask-size"),
    ],
)
def test_mask_training_names_the_first_annotation_it_cannot_use(
    tmp_path: Path, segmentation: Any, mask_format: str, code: str | None
) -> None:
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"][2:5]:
            annotation["segmentation"] = segmentation

    _register(tmp_path, change)
    needs = Needs(masks=True, mask_format=mask_format)
    errors = [f for f in check_dataset("odd", needs=needs).findings if f.severity == "error"]
    assert [f.code for f in errors] == ([code] if code else [])
    if code:
        assert errors[0].count == 3
        assert errors[0].examples[0].partition(":")[0] == "annotation 3"
    assert not [f for f in check_dataset("odd").findings if f.severity == "error"]


def test_masks_of_every_kind_are_evaluated(tmp_path: Path) -> None:
    _register(tmp_path, lambda c: c["annotations"][0].update(segmentation=RLE))
    evaluator = SafeCOCOEvaluator("odd", tasks=("bbox", "segm"))
    found = evaluate(evaluator, [])
    assert found == {}  # no image was seen
    assert evaluator._coco_api.annToMask(evaluator._coco_api.anns[1]).sum() == 9


def test_the_recall_command_reads_odd_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file, _ = write_coco(tmp_path, MEANT["text image ids"][0])
    rows = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": a["bbox"],
            "score": 0.5,
        }
        for a in coco_content()["annotations"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert main(["recall", str(tmp_path / "results.json"), str(json_file)]) in (0, None)
    assert "100.0" in capsys.readouterr().out


IDS = st.one_of(
    st.integers(-(2**70), 2**70), st.text(min_size=1, max_size=6), st.integers().map(str)
)


def _distinct(ids: list[Any]) -> bool:
    return len({(str(i), isinstance(i, str)) for i in ids}) == len(ids)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    images=st.lists(IDS, min_size=4, max_size=4).filter(_distinct),
    annotations=st.lists(IDS, min_size=8, max_size=8).filter(_distinct),
    categories=st.lists(IDS, min_size=2, max_size=2).filter(_distinct),
)
def test_ids_of_any_kind_give_ap_100(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[Any],
    annotations: list[Any],
    categories: list[Any],
) -> None:
    content = coco_content()
    for entry, key in zip(content["images"], images, strict=True):
        entry["id"] = key
    for entry, key in zip(content["categories"], categories, strict=True):
        entry["id"] = key
    for entry, key in zip(content["annotations"], annotations, strict=True):
        entry["id"] = key
        entry["image_id"] = images[entry["image_id"] - 1]
        entry["category_id"] = categories[entry["category_id"] - 1]
    records = parse_coco(content, "odd").refuse_faults()
    assert {image["image_id"] for image in records.images} == set(images)
    of_class = dict(zip(records.category_ids, records.class_names, strict=True))
    assert of_class == dict(zip(categories, ("cell", "plate"), strict=True))
    found = {a["id"] for image in records.images for a in image["annotations"]}
    assert found == set(annotations)


FLAGS = st.sampled_from(
    [(0, 0), (1, 1), (None, 0), (False, 0), (True, 1), (0.0, 0), (1.0, 1), ("", 0), ("0", 0)]
    + [("1", 1), ("false", 0), ("True", 1), ("1.0", 1), (" 0 ", 0)]
)


@given(st.lists(FLAGS, min_size=NUM_OBJECTS, max_size=NUM_OBJECTS))
def test_crowd_flags_of_any_spelling(flags: list[tuple[Any, int]]) -> None:
    content = coco_content()
    for annotation, (spelt, _) in zip(content["annotations"], flags, strict=True):
        annotation["iscrowd"] = spelt
    found = columns_of(parse_coco(content, "odd")).crowd.tolist()
    assert found == [bool(meant) for _, meant in flags]


@given(
    st.one_of(
        st.integers(2), st.text("abcxyz", min_size=4), st.lists(st.integers()), st.floats(2, 9)
    )
)
def test_other_crowd_flags_are_refused(value: Any) -> None:
    content = coco_content()
    content["annotations"][0]["iscrowd"] = value
    with pytest.raises(DataError, match="neither 0 nor 1"):
        parse_coco(content, "odd").refuse_faults()
