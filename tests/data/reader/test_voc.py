"""VOC layout: reading as Detectron2 does, difficult flags, faults."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog
from detectron2.data.datasets.pascal_voc import load_voc_instances
from detectron2.structures import BoxMode

from scb_d2.data.reader.voc import read_voc
from scb_d2.data.registration import register_voc
from scb_d2.errors import DataError
from tests.data.builders import check_voc, voc_object, write_voc

CLASSES = ["cat", "dog"]


def _errors(folder: Path) -> list[str]:
    report = check_voc("mine", folder, "val", CLASSES)
    return [finding.message for finding in report.findings if finding.severity == "error"]


def test_reads_what_detectron2_reads_and_the_difficult_flags(tmp_path: Path) -> None:
    objects = voc_object() + voc_object("dog", (1, 1, 40, 30), difficult=1)
    folder = write_voc(tmp_path / "voc", {"000001": objects, "000002": "", "x": voc_object()})
    records = read_voc(folder, "val", CLASSES).refuse_faults().images
    rows = [ann for record in records for ann in record["annotations"]]
    assert [row.pop("difficult") for row in rows] == [0, 1, 0]
    assert [row.pop("id") for row in rows] == [1, 2, 3]
    assert [row.pop("area") for row in rows] == [10 * 12, 40 * 30, 10 * 12]
    for row in rows:
        assert row.pop("iscrowd") == 0
        row["bbox"] = BoxMode.convert(row["bbox"], row["bbox_mode"], BoxMode.XYXY_ABS)
        row["bbox_mode"] = BoxMode.XYXY_ABS
    assert records == load_voc_instances(str(folder), "val", CLASSES)
    assert _errors(folder) == []


def test_a_list_of_one_image_and_boxes_with_decimals(tmp_path: Path) -> None:
    objects = voc_object(box=(1.5, 2, 8.5, 9), difficult=None)
    folder = write_voc(tmp_path / "voc", {"one": objects})
    (record,) = read_voc(folder, "val", CLASSES).images
    assert record["annotations"][0]["bbox"] == [0.5, 1.0, 8.0, 8.0]
    assert _errors(folder) == []


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (
            voc_object("cow"),
            "has objects of a class that is not among its class names: 1 (object 1 of "
            "voc/Annotations/a.xml of class 'cow').",
        ),
        (
            voc_object(box=(9, 3, 5, 14)),
            "has boxes of negative width or height: 1 (object 1 of voc/Annotations/a.xml with "
            "bndbox [9.0, 3.0, 5.0, 14.0]).",
        ),
        (
            voc_object(box=(1, 3, "nan", 14)),
            "has boxes that are not four finite numbers [x, y, width, height]: 1 (object 1 of "
            "voc/Annotations/a.xml with bndbox [1.0, 3.0, nan, 14.0]).",
        ),
        (
            "<object></object>",
            "has annotation files that are missing or malformed: 1 (Object 1 of the VOC annotation "
            "file voc/Annotations/a.xml lacks a name or a bndbox with numbers in xmin, ymin, xmax "
            "and ymax).",
        ),
        (
            voc_object().replace("</object>", voc_object(box=(3, 3, 9, 9))[8:]),
            "has annotation files that are missing or malformed: 1 (Object 1 of the VOC annotation "
            "file voc/Annotations/a.xml has names or bndboxes that differ; it must have one of "
            "each).",
        ),
        (
            voc_object().replace("<name>", "<name>dog</name><name>"),
            "has annotation files that are missing or malformed: 1 (Object 1 of the VOC annotation "
            "file voc/Annotations/a.xml has names or bndboxes that differ; it must have one of "
            "each).",
        ),
        (
            "<object>",
            "has annotation files that are missing or malformed: 1 (The VOC annotation file "
            "voc/Annotations/a.xml cannot be read: mismatched tag: line 1, column 87).",
        ),
    ],
)
def test_faults_in_annotation_files(objects: str, message: str) -> None:
    folder = write_voc(Path("voc"), {"a": objects, "b": voc_object("dog")})
    assert _errors(folder)[0] == f"The VOC data set voc (split 'val') {message}"


def test_a_box_that_is_given_twice_is_one_box() -> None:
    objects = voc_object().replace("</object>", voc_object()[len("<object>") :])
    assert objects.count("<bndbox>") == 2
    (record,) = read_voc(write_voc(Path("voc"), {"a": objects}), "val", CLASSES).images
    assert [x["bbox"] for x in record["annotations"]] == [[1.0, 2.0, 10.0, 12.0]]


def test_xml_of_something_else_is_no_image_without_objects() -> None:
    folder = write_voc(Path("voc"), {"a": voc_object(), "b": voc_object()})
    (folder / "Annotations" / "a.xml").write_text("<html><body>not found</body></html>")
    assert _errors(folder)[0].endswith(
        "1 (The VOC annotation file voc/Annotations/a.xml holds <html> where <annotation> must "
        "stand)."
    )


def test_missing_files() -> None:
    folder = write_voc(Path("voc"), {"a": voc_object(), "b": voc_object()})
    (folder / "JPEGImages" / "a.jpg").unlink()
    (folder / "Annotations" / "b.xml").unlink()
    assert _errors(folder) == [
        "The VOC data set voc (split 'val') names image files that do not exist: 1 "
        "(voc/JPEGImages/a.jpg).",
        "The VOC data set voc (split 'val') has annotation files that are missing or malformed: 1 "
        "(The VOC annotation file voc/Annotations/b.xml cannot be read: No such file or "
        "directory).",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory."),
        ("\n", "is empty: it must name one image id per line."),
        ("a 1\nb -1\n", "must name one image id per line, not 'a 1'."),
    ],
)
def test_image_lists(text: str | None, message: str) -> None:
    folder = write_voc(Path("voc"), {"a": voc_object()})
    path = folder / "ImageSets/Main/val.txt"
    path.unlink() if text is None else path.write_text(text)
    assert _errors(folder) == [f"The VOC image list {path} {message}"]
    with pytest.raises(DataError):
        read_voc(folder, "val", CLASSES)


def test_flat_outside_and_difficult_boxes_do_not_stop_a_run(tmp_path: Path) -> None:
    flat, outside = voc_object(box=(5, 5, 4, 9)), voc_object(box=(5, 5, 50, 9), difficult=1)
    folder = write_voc(tmp_path / "voc", {"a": flat + outside, "b": voc_object("dog"), "c": ""})
    report = check_voc("mine", folder, "val", CLASSES)
    assert [(f.severity, f.code, f.count) for f in report.findings] == [
        ("warning", "empty-box", 1),
        ("warning", "box-outside-image", 1),
        ("note", "empty-image", 1),
        ("note", "difficult", 1),
    ]


def test_an_object_of_unknown_class_stops_the_loader_too(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc", {"a": voc_object("cow")})
    register_voc("cows", folder, "val", CLASSES)
    with pytest.raises(DataError, match=r"not among its class names: 1 .* of class 'cow'"):
        DatasetCatalog.get("cows")
