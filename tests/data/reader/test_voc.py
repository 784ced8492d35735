"""VOC layout: reading as Detectron2 does, difficult flags, faults."""

from pathlib import Path

import pytest
from detectron2.data.datasets.pascal_voc import load_voc_instances
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances
from torch import tensor

from scb_d2.data.checks.voc_annotations import check_voc
from scb_d2.data.reader.voc import load_voc, load_voc_difficult
from scb_d2.data.registration import register_voc
from scb_d2.errors import DataError
from tests.data.builders import voc_object, write_voc

CLASSES = ["cat", "dog"]


def _errors(folder: Path) -> list[str]:
    report = check_voc("mine", folder, "val", CLASSES)
    return [finding.message for finding in report.findings if finding.severity == "error"]


def test_reads_what_detectron2_reads_and_the_difficult_flags(tmp_path: Path) -> None:
    objects = voc_object() + voc_object("dog", (1, 1, 40, 30), difficult=1)
    folder = write_voc(tmp_path / "voc", {"000001": objects, "000002": "", "x": voc_object()})
    records = load_voc(folder, "val", CLASSES)
    flags = [[ann.pop("difficult") for ann in record["annotations"]] for record in records]
    assert flags == [[0, 1], [], [0]]
    assert records == load_voc_instances(str(folder), "val", CLASSES)
    assert load_voc_difficult(folder, "val") == {
        "000001": [False, True],
        "000002": [],
        "x": [False],
    }
    assert _errors(folder) == []


def test_a_list_of_one_image_and_boxes_with_decimals(tmp_path: Path) -> None:
    objects = voc_object(box=(1.5, 2, 8.5, 9), difficult=None)
    folder = write_voc(tmp_path / "voc", {"one": objects})
    (record,) = load_voc(folder, "val", CLASSES)
    assert record["annotations"][0]["bbox"] == [0.5, 1.0, 8.5, 9.0]
    assert (
        check_voc("mine", folder, "val", CLASSES, evaluation=False).findings[0].severity == "note"
    )
    assert _errors(folder) == [
        f"The VOC data set {folder} (split 'val') has objects without the pose, truncated and "
        "difficult elements or whole-numbered box that Detectron2's VOC evaluation needs: 1 "
        f"(object 1 of {folder}/Annotations/one.xml)."
    ]


@pytest.mark.parametrize("year", [2007, 2012])
def test_detectron2s_voc_evaluator_takes_a_registered_data_set(tmp_path: Path, year: int) -> None:
    folder = write_voc(tmp_path / "voc", {"a": voc_object(), "b": voc_object("dog")})
    register_voc("mine_voc", folder, "val", CLASSES, year)
    evaluator = PascalVOCDetectionEvaluator("mine_voc")
    evaluator.reset()
    for image_id, label in (("a", 0), ("b", 1)):
        found = Instances((30, 40))
        found.pred_boxes = Boxes(tensor([[1.0, 2.0, 11.0, 14.0]]))
        found.scores, found.pred_classes = tensor([0.9]), tensor([label])
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP50"] == pytest.approx(100.0)


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
            "has boxes that are not finite: 1 (object 1 of voc/Annotations/a.xml with bndbox "
            "[1.0, 3.0, nan, 14.0]).",
        ),
        (
            "<object></object>",
            "has annotation files that are missing or malformed: 1 (Object 1 of the VOC annotation "
            "file voc/Annotations/a.xml lacks a name or a bndbox with numbers in xmin, ymin, xmax "
            "and ymax).",
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
        load_voc_difficult(folder, "val")


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
    with pytest.raises(DataError, match="class 'cow', which is none of the 2 class names"):
        load_voc(folder, "val", CLASSES)
