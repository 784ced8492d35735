"""COCO JSON files: what is told of each fault, and what passes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scb_d2.data.checks.images import missing_files
from tests.data.builders import check_coco, write_coco

Change = Callable[[dict], object]


def _check(json_file: Path, **roles: bool) -> list:
    return check_coco("mine", json_file, json_file.parent / "images", **roles).findings


def test_a_sound_file_has_no_finding(tmp_path: Path) -> None:
    report = check_coco("mine", write_coco(tmp_path), tmp_path / "images")
    assert report.findings == []
    assert report.classes == ["cat", "dog"]
    assert (report.num_images, report.num_annotations) == (2, 2)


def _images(content: dict) -> list:
    return content["images"]


def _anns(content: dict) -> list:
    return content["annotations"]


NAN, INF = float("nan"), float("inf")

# change of a sound file, code, and the message after "The annotation file a.json ".
FAULTS: list[tuple[Change, str, str]] = [
    (
        lambda c: _images(c)[0].update(id=2),
        "duplicate-image-id",
        "has image ids that are used more than once: 1 (image 2).",
    ),
    (
        lambda c: _images(c)[0].update(width=None, file_name="c.png"),
        "incomplete-image",
        "has images without an id (whole number or text), a file_name, or a width and height > 0 "
        "that the image file does not tell either: 1 (image 1 with file_name 'c.png', None x 30).",
    ),
    (
        lambda c: _images(c)[0].update(height=-1),
        "incomplete-image",
        "has images without an id (whole number or text), a file_name, or a width and height > 0 "
        "that the image file does not tell either: 1 (image 1 with file_name 'a.png', 40 x -1).",
    ),
    (
        lambda c: _images(c)[0].update(file_name="../a.png"),
        "path-outside-root",
        "names image files that lead out of the image folder: 1 ('../a.png').",
    ),
    (
        lambda c: _images(c)[0].update(file_name="/etc/passwd"),
        "path-outside-root",
        "names image files that lead out of the image folder: 1 ('/etc/passwd').",
    ),
    (
        lambda c: _images(c)[1].update(file_name="c.png"),
        "missing-image",
        "names image files that do not exist: 1 (images/c.png).",
    ),
    (
        lambda c: c["categories"][0].update(id=1.5),
        "incomplete-category",
        "has categories without an id (whole number or text) or a name: 1 (category 1.5 with name "
        "'cat').",
    ),
    (
        lambda c: c["categories"].append({"id": 5, "name": "cow"}),
        "duplicate-category-id",
        "has category ids that are used more than once: 1 (category 5).",
    ),
    (
        lambda c: _anns(c)[1].update(id=1),
        "duplicate-annotation-id",
        "has annotation ids that are used more than once: 1 (annotation 1).",
    ),
    (
        lambda c: _anns(c)[1].pop("bbox"),
        "incomplete-annotation",
        "has annotations without an image_id, a category_id or a bbox: 1 (annotation 2).",
    ),
    (
        lambda c: _anns(c)[1].update(image_id=[1]),
        "unknown-image",
        "has annotations of an image_id that is not among its images: 1 (annotation 2 with "
        "image_id [1]).",
    ),
    (
        lambda c: _anns(c)[1].update(image_id=9),
        "unknown-image",
        "has annotations of an image_id that is not among its images: 1 (annotation 2 with "
        "image_id 9).",
    ),
    (
        lambda c: _anns(c)[1].update(category_id=2),
        "unknown-category",
        "has annotations of a category_id that is not among its categories: 1 (annotation 2 with "
        "category_id 2).",
    ),
    (
        lambda c: _anns(c)[0].update(bbox=[1, NAN, 3, 4]),
        "malformed-box",
        "has boxes that are not four finite numbers [x, y, width, height]: 1 (annotation 1 with "
        "bbox [1, nan, 3, 4]).",
    ),
    (
        lambda c: _anns(c)[0].update(bbox=[1, 2, INF, 4]),
        "malformed-box",
        "has boxes that are not four finite numbers [x, y, width, height]: 1 (annotation 1 with "
        "bbox [1, 2, inf, 4]).",
    ),
    (
        lambda c: _anns(c)[0].update(bbox=[1, 2, 3]),
        "malformed-box",
        "has boxes that are not four finite numbers [x, y, width, height]: 1 (annotation 1 with "
        "bbox [1, 2, 3]).",
    ),
    (
        lambda c: _anns(c)[0].update(bbox=[1, 2, "3", 10**400]),
        "malformed-box",
        "has boxes that are not four finite numbers",
    ),
    (
        lambda c: _anns(c)[0].update(bbox=[5, 6, -3, 4]),
        "negative-box",
        "has boxes of negative width or height: 1 (annotation 1 with bbox [5, 6, -3, 4]).",
    ),
    (
        lambda c: _anns(c)[0].update(ignore=1),
        "ignore-flag",
        "has annotations with the flag 'ignore', which Detectron2 does not know: 1 (annotation 1).",
    ),
    (
        lambda c: [ann.update(iscrowd=1) for ann in _anns(c)],
        "no-object",
        "has no object to train on, crowd regions apart.",
    ),
]


@pytest.mark.parametrize(("change", "code", "message"), FAULTS)
def test_each_fault_is_one_sentence_with_its_first_examples(
    change: Change, code: str, message: str
) -> None:
    write_coco(Path(), change)
    errors = [f for f in _check(Path("a.json")) if f.severity == "error"]
    assert errors[0].code == code
    start = f"The annotation file a.json {message}"
    assert errors[0].message[: len(start)] == start


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes"),
        ("", "is not JSON: Expecting value: line 1 column 1 (char 0)."),
        ("[1]", "is not COCO JSON: it must be an object with the lists 'images',"),
        ("{}", "is not COCO JSON: 'images' must be a list of objects and is missing."),
        (
            '{"images": [3], "categories": []}',
            "is not COCO JSON: 'images' must be a list of objects and holds a number at place 0.",
        ),
        (
            '{"images": [{}], "categories": [{}], "annotations": null}',
            "is not COCO JSON: 'annotations' must be a list of objects and is null.",
        ),
        (
            '{"images": {"1": {}}, "categories": [{}]}',
            "is not COCO JSON: 'images' must be a list of objects and is an object.",
        ),
        (
            '{"images": [{}], "categories": [{}, "a"], "annotations": []}',
            "is not COCO JSON: 'categories' must be a list of objects and holds a text at place 1.",
        ),
        ("null", "is not COCO JSON: it must be an object with the lists 'images', "),
        ('{"images": [], "categories": [{}]}', "has no images: the list 'images' is empty."),
        ("[" * 100_000, "is not JSON: "),
    ],
)
def test_files_that_are_not_coco(text: str, sentence: str) -> None:
    Path("a.json").write_text(text)
    (finding,) = _check(Path("a.json"))
    start = f"The annotation file a.json {sentence}"
    assert finding.message[: len(start)] == start


def test_files_that_cannot_be_opened() -> None:
    (finding,) = _check(Path("absent.json"))
    assert finding.message == "The annotation file absent.json does not exist."
    Path("folder").mkdir()
    (finding,) = _check(Path("folder"))
    assert finding.message == "The annotation file folder cannot be read: Is a directory."


def test_a_missing_image_folder_comes_first(tmp_path: Path) -> None:
    report = check_coco("mine", write_coco(tmp_path), "nowhere")
    assert report.findings[0].message == (
        "The image folder nowhere of the data set 'mine' does not exist."
    )


def test_crowds_empty_images_and_unused_categories_are_notes(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        content["annotations"] = [content["annotations"][0] | {"iscrowd": 1}] + [
            content["annotations"][0] | {"id": 3}
        ]

    findings = _check(write_coco(tmp_path, change))
    assert [(f.severity, f.code, f.count, f.examples) for f in findings] == [
        ("note", "empty-image", 1, ("image 2",)),
        ("note", "crowd", 1, ("annotation 1",)),
        ("note", "unused-category", 1, ("'dog'",)),
    ]


def test_objects_that_are_there_twice_are_a_warning(tmp_path: Path) -> None:
    def repeat(content: dict) -> None:
        first = content["annotations"][0]
        others = [{"id": 3}, {"id": 4, "category_id": 5}, {"id": 5, "bbox": [1, 2, 10, 11]}]
        others += [{"id": 6, "image_id": 2}, {"id": 7, "iscrowd": 1}]
        content["annotations"] += [first | other for other in others]

    json_file = write_coco(tmp_path, repeat)
    report = check_coco("mine", json_file, tmp_path / "images")
    (warning,) = (f for f in report.findings if f.severity == "warning")
    assert warning.code == "duplicate-object"
    assert warning.examples == ("annotation 3 of image 1",)


@pytest.mark.parametrize("rotation", [0, 0.0, "0.0", None, "none", [30], {}])
def test_upright_boxes_with_a_rotation_are_told_of_by_none(
    tmp_path: Path, rotation: object
) -> None:
    json_file = write_coco(
        tmp_path, lambda c: _anns(c)[0].update(attributes={"rotation": rotation})
    )
    assert _check(json_file) == []


def test_boxes_turned_by_an_attribute_are_a_warning(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        content["annotations"][0]["attributes"] = {"occluded": False, "rotation": 29.5}
        content["annotations"][1]["attributes"] = {"rotation": "330"}

    (finding,) = _check(write_coco(tmp_path, change))
    assert (finding.severity, finding.count) == ("warning", 2)
    assert finding.message.endswith(
        "has boxes that 'attributes.rotation' turns, which is not applied: they are taken "
        "upright: 2 (annotation 1 by 29.5, annotation 2 by 330)."
    )


@pytest.mark.parametrize(
    ("others", "mask", "severity"),
    [
        (20, {"size": [30, 40], "counts": [0, 1200]}, "warning"),
        (200, {"size": [30, 40], "counts": [0, 1200]}, "note"),
        (20, [], "note"),  # as 'scb-d2 tile' writes objects that a border cuts off
    ],
)
def test_many_crowds_with_masks_are_a_warning(
    tmp_path: Path, others: int, mask: object, severity: str
) -> None:
    def change(content: dict) -> None:
        first = content["annotations"][0] | {"segmentation": mask}
        content["annotations"] += [
            first | {"id": 10 + i, "iscrowd": int(i < 15), "bbox": [1, 2, 3, 1 + i / 10]}
            for i in range(others)
        ]

    report = check_coco("mine", write_coco(tmp_path, change), tmp_path / "images")
    assert [f.severity for f in report.findings if f.code == "crowd"] == [severity]


def test_flat_boxes_are_one_warning_with_count_and_first_ids(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        flat = content["annotations"][0] | {"bbox": [1, 2, 3, 0]}
        content["annotations"] += [flat | {"id": 10 + i} for i in range(7)]

    (finding,) = _check(write_coco(tmp_path, change))
    assert (finding.severity, finding.code, finding.count) == ("warning", "empty-box", 7)
    assert finding.message.endswith(
        "has boxes of zero width or height, which are dropped from training as Detectron2 does: 7 ("
        + ", ".join(f"annotation {10 + i} with bbox [1, 2, 3, 0]" for i in range(5))
        + ", ...)."
    )
    assert _check(tmp_path / "a.json", training=False) == []


def test_boxes_that_leave_the_image_are_a_warning(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        content["annotations"][0]["bbox"] = [-0.9, 0, 41.8, 31]
        content["annotations"][1]["bbox"] = [30, 5, 20, 20]

    (finding,) = _check(write_coco(tmp_path, change))
    assert (finding.severity, finding.count) == ("warning", 1)
    assert finding.examples == ("annotation 2 with bbox [30, 5, 20, 20]",)


def test_a_file_without_annotations_serves_for_inference_only(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path, lambda content: content.pop("annotations"))
    assert [f.code for f in _check(json_file) if f.severity == "error"] == ["no-object"]
    assert all(f.severity == "note" for f in _check(json_file, training=False))


def test_nothing_to_evaluate_is_a_warning(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path, lambda content: content.update(annotations=[]))
    report = check_coco("mine", json_file, tmp_path / "images", training=False)
    (warning,) = (f.message for f in report.findings if f.severity == "warning")
    assert warning == (
        f"The annotation file {json_file} has no object to evaluate on: every AP will be nan."
    )


def test_expected_classes(tmp_path: Path) -> None:
    json_file = write_coco(tmp_path)
    for expected, difference in (
        (["cat"], "2 instead of 1"),
        (["cat", "cow"], "number 2 is 'dog' instead of 'cow'"),
    ):
        report = check_coco("mine", json_file, tmp_path / "images", expected_classes=expected)
        (finding,) = report.findings
        assert finding.message == (
            f"The annotation file {json_file} has other categories than the data set 'mine' must "
            f"have: {difference}."
        )


def test_coco_minival_may_repeat_annotation_ids(tmp_path: Path) -> None:
    write_coco(tmp_path, lambda content: content["annotations"][1].update(id=1))
    os.rename(tmp_path / "a.json", tmp_path / "instances_minival2014.json")
    assert _check(tmp_path / "instances_minival2014.json") == []


def test_missing_files_in_several_folders(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1").touch()
    paths = [str(tmp_path / p) for p in ("x/1", "x/2", "y/1")]
    assert missing_files(paths) == paths[1:]


def test_image_folder_may_be_the_current_directory() -> None:
    def change(content: dict) -> None:
        for image in content["images"]:
            image["file_name"] = f"images/{image['file_name']}"

    write_coco(Path(), change)
    assert check_coco("mine", "a.json", ".").findings == []
    content = json.loads(Path("a.json").read_text())
    content["images"][0]["file_name"] = "../a.png"
    Path("a.json").write_text(json.dumps(content))
    assert [f.code for f in check_coco("mine", "a.json", ".").findings] == ["path-outside-root"]


def test_whole_paths_inside_a_folder_given_by_a_relative_path() -> None:
    def change(content: dict) -> None:
        for image in content["images"]:
            image["file_name"] = str(Path("images").resolve() / image["file_name"])

    write_coco(Path(), change)
    assert check_coco("mine", "a.json", "images").findings == []
