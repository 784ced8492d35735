"""Odd VOC folders, and VOC's AP from canonical records: Detectron2's numbers on clean files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scb_d2.data.checks import check_dataset
from scb_d2.data.reader.images import IMAGE_SUFFIXES
from scb_d2.data.reader.voc import read_voc, read_voc_xml
from scb_d2.data.registration import register_voc
from scb_d2.errors import DataError
from scb_d2.evaluation.voc_evaluator import VOCEvaluator
from tests.data.builders import voc_object

from .builders import HEIGHT, NAMES, OBJECTS, WIDTH, evaluate, write_images

CHANGES = Callable[[str], str]


def _object(category: int, box: tuple[int, ...], names: list[str] = NAMES) -> str:
    x, y, w, h = box
    return voc_object(names[category], (x + 1, y + 1, x + w, y + h))


def _write(folder: Path, change: CHANGES = str, encoding: str = "utf-8") -> Path:
    """The data set of the builders in VOC's layout, each XML file changed."""
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    write_images(folder / "JPEGImages")
    for image_id, objects in OBJECTS.items():
        path = folder / "JPEGImages" / f"{image_id}.png"
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        text = "".join(_object(*o) for o in objects)
        xml = change(f"<annotation><filename>{image_id}.jpg</filename>{size}{text}</annotation>")
        (folder / "Annotations" / f"{image_id}.xml").write_bytes(xml.encode(encoding))
    ids = "".join(f"{image_id}\n" for image_id in OBJECTS)
    (folder / "ImageSets/Main/val.txt").write_text(ids)
    return folder


def _replacing(old: str, new: str) -> CHANGES:
    return lambda xml: xml.replace(old, new)


# What is odd about the XML, and the notes that tell of it.
MEANT: dict[str, tuple[CHANGES, set[str]]] = {
    "plain": (str, set()),
    "truncated by a share": (_replacing("<truncated>0<", "<truncated>0.0597<"), set()),
    "empty difficult": (_replacing("<difficult>0</difficult>", "<difficult/>"), set()),
    "difficult in words": (
        _replacing("<difficult>0<", "<difficult>Unspecified<"),
        {"other-flag"},
    ),
    "no flags": (
        lambda xml: (
            xml.replace("<difficult>0</difficult>", "")
            .replace("<truncated>0</truncated>", "")
            .replace("<pose>Left</pose>", "")
        ),
        set(),
    ),
    "corners with decimals": (
        lambda xml: xml.replace("</xmin>", ".0</xmin>").replace("</ymax>", ".0</ymax>"),
        set(),
    ),
    "spaces around names": (_replacing("<name>", "<name> "), set()),
    "a namespace": (_replacing("<annotation>", "<annotation xmlns='http://a.b/c'>"), set()),
    "no size": (
        lambda xml: xml[: xml.index("<size>")] + xml[xml.index("</size>") + 7 :],
        {"size-from-image"},
    ),
    "size 0": (
        lambda xml: xml.replace(f"<width>{WIDTH}<", "<width>0<").replace(
            f"<height>{HEIGHT}<", "<height>0<"
        ),
        {"size-from-image"},
    ),
    "parts": (
        _replacing("</object>", "<part><bndbox><xmin>1</xmin></bndbox></part></object>"),
        set(),
    ),
    "polygons": (_replacing("</object>", "<polygon><x1>1</x1></polygon></object>"), set()),
    "byte order mark": (lambda xml: "\ufeff" + xml, set()),
}


@pytest.mark.parametrize("year", [2007, 2012])
@pytest.mark.parametrize("case", MEANT)
def test_odd_files_are_read_and_evaluated(case: str, year: int, tmp_path: Path) -> None:
    change, codes = MEANT[case]
    register_voc("odd", _write(tmp_path / "voc", change), "val", NAMES, year)
    report = check_dataset("odd", headers=None)
    assert {f.code for f in report.findings} == {*codes, "empty-image"}
    assert {f.severity for f in report.findings} == {"note"}
    records = DatasetCatalog.get("odd")
    for record in records:
        objects = OBJECTS[int(record["image_id"])]
        assert [a["bbox"] for a in record["annotations"]] == [list(box) for _, box in objects]
        assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
        assert not any(a["difficult"] for a in record["annotations"])
    found = evaluate(VOCEvaluator("odd"), records)
    assert found["bbox"] == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})


def test_levels_of_difficulty_are_difficult(tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc", _replacing("<difficult>0<", "<difficult>2<"))
    records = read_voc(folder, "val", NAMES).images
    assert all(a["difficult"] == 1 for r in records for a in r["annotations"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda xml: xml.replace("xmin", "x1").replace("xmax", "xmin").replace("x1", "xmax"),
            "has boxes of negative width or height: 8 (",
        ),
        (_replacing("<name>cell<", "<name>CELL<"), "has objects of a class that is not among its"),
    ],
)
def test_what_cannot_be_meant_is_named(change: CHANGES, sentence: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc", change)
    register_voc("odd", folder, "val", NAMES)
    with pytest.raises(DataError) as refused:
        check_dataset("odd").raise_first_error()
    assert f"(split 'val') {sentence}" in str(refused.value)


WRITABLE = {end for end, kind in Image.registered_extensions().items() if kind in Image.SAVE}


@pytest.mark.parametrize("suffix", [*(s for s in IMAGE_SUFFIXES if s in WRITABLE), ".JPG"])
def test_images_of_any_format(suffix: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc")
    for path in (folder / "JPEGImages").iterdir():
        image = Image.open(path)
        path.unlink()
        image.save(path.with_suffix(suffix))
    register_voc("odd", folder, "val", NAMES)
    check_dataset("odd", headers=None).raise_first_error()
    assert DatasetCatalog.get("odd")[0]["file_name"].endswith(f"1{suffix}")


def test_images_in_folders_of_folders(tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc")
    for place, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (folder / place / "day").mkdir()
        shutil.move(folder / place / f"1.{suffix}", folder / place / "day")
    (folder / "JPEGImages/day/1.jpg").rename(folder / "JPEGImages/day/1.tif")
    (folder / "ImageSets/Main/val.txt").write_text("day/1\n2\n")
    register_voc("odd", folder, "val", NAMES)
    check_dataset("odd", headers=None).raise_first_error()
    assert [len(r["annotations"]) for r in DatasetCatalog.get("odd")] == [3, 2]


@pytest.mark.parametrize(
    "text", ["\ufeff1\n2\n3\n4", "1\n\n2\n  \n3 \n4\n\n", "1\r\n2\r\n3\r\n4\r\n"]
)
def test_lists_with_marks_and_blank_lines(text: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc")
    (folder / "ImageSets/Main/val.txt").write_bytes(text.encode())
    assert [r["image_id"] for r in read_voc(folder, "val", NAMES).images] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("suffix", [".jpg", ".xml"])
def test_lists_of_files(suffix: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc")
    names = "".join(f"{image_id}{suffix}\n" for image_id in OBJECTS)
    (folder / "ImageSets/Main/val.txt").write_text(names)
    images = read_voc(folder, "val", NAMES).refuse_faults().images
    assert [image["image_id"] for image in images] == [str(image_id) for image_id in OBJECTS]


def test_objects_that_lie_deeper_are_not_passed_over(tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc", lambda xml: f"<annotations>{xml}</annotations>")
    with pytest.raises(DataError, match=r"1\.xml has its objects deeper than directly below"):
        read_voc(folder, "val", NAMES).refuse_faults()


def test_the_first_element_may_have_another_name_above_objects(tmp_path: Path) -> None:
    as_ever = read_voc(_write(tmp_path / "voc"), "val", NAMES).refuse_faults().images

    def rename(xml: str) -> str:
        return xml.replace("annotation>", "doc>") if "<object>" in xml else xml

    renamed = _write(tmp_path / "other", rename)
    images = read_voc(renamed, "val", NAMES).refuse_faults().images
    assert [x["annotations"] for x in images] == [x["annotations"] for x in as_ever] != []


def test_names_with_spaces(tmp_path: Path) -> None:
    folder = _write(tmp_path / "voc")
    for place, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        shutil.move(folder / place / f"1.{suffix}", folder / place / f"image 1.{suffix}")
    (folder / "ImageSets/Main/val.txt").write_text("image 1\n")
    register_voc("odd", folder, "val", NAMES)
    check_dataset("odd", headers=None).raise_first_error()
    assert len(DatasetCatalog.get("odd")[0]["annotations"]) == len(OBJECTS[1])


ENCODINGS = {
    "gbk": "红细胞",
    "gb2312": "红细胞",
    "big5": "紅細胞",
    "shift_jis": "赤血球",
    "euc-kr": "적혈구",
    "utf-16": "赤血球",
    "iso-8859-1": "Blutkörper",
    "cp1252": "Blutkörper",
    "utf-8": "кровь",
    "koi8-r": "кровь",
}


@given(
    st.sampled_from(sorted(ENCODINGS)),
    st.sampled_from(["'", '"']),
    st.sampled_from([str.lower, str.upper]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_encodings(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, quote: str, case: Any
) -> None:
    name = ENCODINGS[encoding]
    path = tmp_path_factory.mktemp("voc") / "a.xml"
    head = f"<?xml version={quote}1.0{quote} encoding={quote}{case(encoding)}{quote}?>"
    text = f"{head}<annotation><size><width>6</width><height>4</height></size>"
    path.write_bytes(f"{text}{voc_object(name)}</annotation>".encode(encoding))
    image = read_voc_xml(path)
    assert (image.width, image.height) == (6, 4)
    assert [o.name for o in image.objects] == [name]


def test_an_encoding_that_nobody_knows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<?xml version='1.0' encoding='no-such'?><annotation/>")
    with pytest.raises(DataError) as refused:
        read_voc_xml(path)
    assert str(refused.value) == (
        f"The VOC annotation file {path} declares the unknown encoding 'no-such'."
    )
    path.write_bytes(
        "<?xml version='1.0' encoding='utf-8'?><annotation>ü</annotation>".encode("cp1252")
    )
    with pytest.raises(DataError, match="cannot be read: 'utf-8' codec can't decode"):
        read_voc_xml(path)


def _noisy(rng: np.random.Generator, objects: list[tuple[int, tuple[int, ...]]]) -> Instances:
    """Some objects found, some twice, some not at all, some that are not there."""
    rows = [o for o in [*objects, *objects] if rng.random() < 0.7]
    rows += [(int(rng.integers(2)), tuple(rng.integers(1, 30, 4))) for _ in range(3)]
    boxes = np.array([[x, y, x + w, y + h] for _, (x, y, w, h) in rows], dtype=np.float32)
    boxes += rng.normal(0, 1.2, boxes.shape)
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.from_numpy(boxes)),
        scores=torch.from_numpy(rng.random(len(rows))),
        pred_classes=torch.tensor([c for c, _ in rows]),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("year", [2007, 2012])
def test_ap_is_that_of_detectron2_on_clean_files(year: int, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)

    def some_difficult(xml: str) -> str:
        if "1.jpg" in xml:  # each class keeps an object to find
            return xml
        parts = xml.split("<difficult>0<")
        return parts[0] + "".join(f"<difficult>{int(rng.random() < 0.3)}<{p}" for p in parts[1:])

    folder = _write(tmp_path / "voc", some_difficult)
    name = f"clean_{year}_{seed}"
    register_voc(name, folder, "val", NAMES, year)
    evaluators = [PascalVOCDetectionEvaluator(name), VOCEvaluator(name)]
    for evaluator in evaluators:
        evaluator.reset()
    for record in DatasetCatalog.get(name):
        found = _noisy(rng, OBJECTS[int(record["image_id"])])
        for evaluator in evaluators:
            evaluator.process([record], [{"instances": found}])
    stock, ours = (evaluator.evaluate()["bbox"] for evaluator in evaluators)
    assert 2 < stock["AP50"] < 98
    assert ours == pytest.approx(dict(stock), abs=1e-9)


@pytest.mark.parametrize("year", [2007, 2012])
def test_a_class_without_objects_is_left_out_of_the_mean(year: int, tmp_path: Path) -> None:
    register_voc("odd", _write(tmp_path / "voc"), "val", [*NAMES, "absent"], year)
    found = evaluate(
        VOCEvaluator("odd", output_dir=str(tmp_path / "out")), DatasetCatalog.get("odd")
    )
    assert found["bbox"] == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "coco_annotations.json",
        "coco_instances_results.json",
    }


def test_nothing_detected_is_ap_0_and_no_object_is_nan(tmp_path: Path) -> None:
    register_voc("odd", _write(tmp_path / "voc"), "val", NAMES)
    evaluator = VOCEvaluator("odd")
    assert evaluator.evaluate()["bbox"] == {"AP": 0, "AP50": 0, "AP75": 0}
    (tmp_path / "voc/ImageSets/Main/val.txt").write_text("4\n")  # without objects
    assert math.isnan(VOCEvaluator("odd").evaluate()["bbox"]["AP"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_mark_knows_better_than_a_declaration(encoding: str, tmp_path: Path) -> None:
    head = "<?xml version='1.0' encoding='utf-8'?>"
    folder = _write(tmp_path / "voc", lambda xml: head + xml, encoding)
    (folder / "ImageSets/Main/val.txt").write_text("1\n2\n3\n4\n", encoding=encoding)
    records = read_voc(folder, "val", NAMES).refuse_faults().images
    assert [len(r["annotations"]) for r in records] == [len(o) for o in OBJECTS.values()]
