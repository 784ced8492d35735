"""The layout of YOLO: boxes, polygons, images without labels, paths, faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from scb_d2.config import get_cfg
from scb_d2.data.checks import check_datasets
from scb_d2.data.checks.classes import dataset_classes
from scb_d2.data.checks.datasets import check_dataset
from scb_d2.data.reader.yolo import read_yolo
from scb_d2.data.registration import register_datasets, register_yolo
from scb_d2.errors import DataError
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from tests.data.cases.builders import HEIGHT, NAMES, OBJECTS, WIDTH, evaluate, write_images


def _line(category: int, box: tuple[int, ...]) -> str:
    x, y, w, h = box
    shares = ((x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT)
    return " ".join([str(category), *(f"{share:.17g}" for share in shares)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The objects of the builders; image 4 has no label file, as is usual."""
    root = tmp_path / "yolo"
    write_images(root / "images" / "val")
    labels = root / "labels" / "val"
    labels.mkdir(parents=True)
    for image_id, objects in OBJECTS.items():
        if objects:
            lines = "\n".join(_line(*o) for o in objects)
            (labels / f"{image_id}.txt").write_text(lines + "\n\n")
    _describe(root)
    return root


def _describe(root: Path, **changes: object) -> None:
    content = {
        "path": ".",
        "train": "images/val",
        "val": "images/val",
        "names": dict(enumerate(NAMES)),
    }
    (root / "data.yaml").write_text(yaml.safe_dump(content | changes))


def test_boxes_in_pixels_and_images_without_labels(folder: Path) -> None:
    records = read_yolo(folder / "data.yaml", "val").refuse_faults()
    assert records.class_names == NAMES
    assert [r["image_id"] for r in records.images] == [f"images/val/{n}.png" for n in OBJECTS]
    for record, objects in zip(records.images, OBJECTS.values(), strict=True):
        assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
        assert [a["category_id"] for a in record["annotations"]] == [c for c, _ in objects]
        for annotation, (_, box) in zip(record["annotations"], objects, strict=True):
            assert annotation["bbox"] == pytest.approx(box)
            assert annotation["bbox_mode"] == BoxMode.XYWH_ABS
            assert annotation["area"] == pytest.approx(box[2] * box[3])


def test_a_polygon_gives_its_box_mask_and_area(folder: Path) -> None:
    corners = [(8, 12), (24, 12), (24, 36)]
    shares = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in corners)
    (folder / "labels/val/4.txt").write_text(f"1 {shares}\n")
    (annotation,) = read_yolo(folder, "val").refuse_faults().images[3]["annotations"]
    assert annotation["bbox"] == pytest.approx([8, 12, 16, 24])
    assert annotation["segmentation"] == [pytest.approx([8, 12, 24, 12, 24, 36])]
    assert annotation["area"] == pytest.approx(16 * 24 / 2)


def test_it_is_registered_checked_trained_and_evaluated(folder: Path, tmp_path: Path) -> None:
    cfg: CfgNode = get_cfg()
    entry = {"FORMAT": "yolo", "DATA": str(folder)}
    cfg.DATASETS.REGISTER = [{"NAME": f"y_{s}", "SPLIT": s, **entry} for s in ("train", "val")]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("y_train",), ("y_val",)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.RETINANET.NUM_CLASSES = "RetinaNet", 2
    register_datasets(cfg)
    reports = check_datasets(cfg)
    assert [[f.code for f in report.findings] for report in reports] == [["empty-image"]] * 2
    assert dataset_classes("y_val") == NAMES
    records = DatasetCatalog.get("y_val")
    assert MetadataCatalog.get("y_val").thing_classes == NAMES
    output = tmp_path / "out"
    found = evaluate(SafeCOCOEvaluator("y_val", output_dir=str(output)), records)
    assert found["bbox"]["AP"] == pytest.approx(100)
    assert (output / "coco_annotations.json").is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"names": NAMES, "nc": 2},
        {"path": None, "val": ["images/val"]},
        {"val": "../images/val"},  # as some exports count, from a folder beside the file
        {"val": "list.txt"},
        {"val": "lists/list.txt"},  # entries from the data set's folder
        {"val": "images\\val"},
        {"val": "..\\images\\val"},
        {"path": "/content/signs"},  # of the machine it was exported on
    ],
)
def test_ways_to_name_classes_and_images(folder: Path, changes: dict[str, object]) -> None:
    (folder / "list.txt").write_text("./images/val/1.png\n\nimages/val/2.png\n")
    (folder / "lists").mkdir()
    shutil.copy(folder / "list.txt", folder / "lists")
    _describe(folder, **changes)
    records = read_yolo(folder, "val").refuse_faults()
    assert len(records.images) == (2 if "list.txt" in str(changes.get("val")) else 4)
    assert [r["image_id"] for r in records.images][:2] == ["images/val/1.png", "images/val/2.png"]
    assert sum(len(r["annotations"]) for r in records.images[:2]) == 5


def test_labels_are_of_the_image_as_its_exif_tag_turns_it(folder: Path) -> None:
    image = Image.new("RGB", (30, 40))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(folder / "images/val/5.jpg", exif=exif)
    (folder / "labels/val/5.txt").write_text("0 0.5 0.5 1 1")
    record = next(r for r in read_yolo(folder, "val").images if r["file_name"].endswith("5.jpg"))
    assert (record["width"], record["height"]) == (40, 30)
    assert record["annotations"][0]["bbox"] == [0, 0, 40, 30]


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        ("0 0.5 0.5 0.1", "lines in label files that are neither"),
        ("0 30 20 10 10", "lines in label files that are neither"),
        ("0 0.5 nan 0.1 0.1", "lines in label files that are neither"),
        ("cell 0.5 0.5 0.1 0.1", "lines in label files that are neither"),
        ("2 0.5 0.5 0.1 0.1", "objects of a class that is not among its class names"),
        ("0.5 0.5 0.5 0.1 0.1", "objects of a class that is not among its class names"),
    ],
)
def test_faults_of_labels_are_named(folder: Path, text: str, predicate: str) -> None:
    path = folder / "labels/val/4.txt"
    path.write_text(text)
    register_yolo("odd", folder, "val")
    with pytest.raises(DataError) as refused:
        check_dataset("odd").raise_first_error()
    message = str(refused.value)
    assert message.startswith(f"The YOLO data set {folder}/data.yaml (split 'val') has {predicate}")
    assert f"1 (line 1 of {path}" in message
    with pytest.raises(DataError):
        DatasetCatalog.get("odd")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"val": None}, "has no split 'val'; it has train."),
        ({"val": ""}, "has no split 'val'; it has train."),
        ({"val": ["images/val", ""]}, "or several of these; got ['images/val', '']."),
        (
            {"path": "x" * 300, "val": "nowhere"},
            "/nowhere as its split 'val', which does not exist.",
        ),
        ({"path": "/content/signs", "val": "nowhere"}, "names /content/signs/nowhere as its split"),
        ({"val": "nowhere"}, "nowhere as its split 'val', which does not exist."),
        ({"val": 3}, "give its split 'val' as a folder, a list of image files, or several of th"),
        ({"val": ["images", None]}, "or several of these; got ['images', None]."),
        ({"val": {"a": "images"}}, "or several of these; got {'a': 'images'}."),
        ({"names": None}, "must give the class names as a list, or by numbers from 0, not None."),
        ({"names": {1: "a"}}, "must give the class names as a list"),
        ({"nc": 3}, "says nc 3 and names 2 classes."),
        ({"kpt_shape": [5, 3]}, "has keypoints (kpt_shape), which are read from COCO JSON only."),
    ],
)
def test_faults_of_the_description_are_named(
    folder: Path, changes: dict[str, object], sentence: str
) -> None:
    _describe(folder, **changes)
    with pytest.raises(DataError) as refused:
        read_yolo(folder, "val")
    assert str(refused.value).startswith(f"The YOLO file {folder}/data.yaml ")
    assert sentence in str(refused.value)


def test_a_missing_or_broken_description(folder: Path) -> None:
    (folder / "data.yaml").write_text("a: [")
    with pytest.raises(DataError, match="is not YAML"):
        read_yolo(folder, "val")
    (folder / "data.yaml").write_text("names: {0: cat, 1: dog, 1: bird}\nval: images/val\n")
    with pytest.raises(DataError, match="is not YAML: the key '1' of line 1 is given again"):
        read_yolo(folder, "val")
    (folder / "data.yaml").unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_yolo(folder, "val")


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_shares_become_pixels_and_back(
    tmp_path_factory: pytest.TempPathFactory, shares: list[tuple[float, ...]]
) -> None:
    root = tmp_path_factory.mktemp("yolo")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    Image.new("L", (50, 20)).save(root / "images" / "a.png")
    lines = "\n".join(f"0 {' '.join(map(repr, row))}" for row in shares)
    (root / "labels" / "a.txt").write_text(lines)
    (root / "data.yaml").write_text("{train: images, names: [a]}")
    (record,) = read_yolo(root, "train").refuse_faults().images
    back = [
        ((x + w / 2) / 50, (y + h / 2) / 20, w / 50, h / 20)
        for x, y, w, h in (a["bbox"] for a in record["annotations"])
    ]
    assert back == [pytest.approx(row, abs=1e-12) for row in shares]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_in_any_encoding_of_unicode(folder: Path, encoding: str) -> None:
    (folder / "list.txt").write_text("images/val/1.png\n", encoding=encoding)
    _describe(folder, val="list.txt")
    for path in (folder / "data.yaml", folder / "labels" / "val" / "1.txt"):
        path.write_text(path.read_text(), encoding=encoding)
    records = read_yolo(folder, "val").refuse_faults()
    assert [len(r["annotations"]) for r in records.images] == [len(OBJECTS[1])]


@pytest.mark.parametrize(
    "changes", [{"names": {"0": "cell", "1": "plate"}}, {"nc": "2"}, {"nc": None}]
)
def test_numbers_may_be_texts(folder: Path, changes: dict[str, object]) -> None:
    _describe(folder, **changes)
    assert read_yolo(folder, "val").refuse_faults().class_names == NAMES


def test_classes_are_called_as_they_are_written(folder: Path) -> None:
    text = (folder / "data.yaml").read_text()
    names = "{0: no, 1: 007}"
    (folder / "data.yaml").write_text(f"{text[: text.index('names')]}\nnames: {names}\nval: images")
    assert read_yolo(folder, "val").class_names == ["no", "007"]


@pytest.mark.parametrize("entry", ["images/val", "list.txt"])
def test_from_the_folder_of_the_data(
    folder: Path, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "list.txt").write_text(f"images/val/1.png\n{folder}/images/val/2.png\n")
    _describe(folder, val=entry)
    monkeypatch.chdir(folder)
    register_yolo("here", "data.yaml", "val")
    report = check_dataset("here", headers=None)
    assert {f.severity for f in report.findings} <= {"note"}
    assert report.num_annotations == (5 if entry == "list.txt" else 8)


def test_lists_may_start_at_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "list.txt").write_text(f"{folder.name}/images/val/1.png\n")
    _describe(folder, val="list.txt")
    monkeypatch.chdir(folder.parent)
    (record,) = read_yolo(folder, "val").refuse_faults().images
    assert len(record["annotations"]) == len(OBJECTS[1])


def test_labels_without_an_image_are_told(folder: Path) -> None:
    (folder / "images/val/1.png").rename(folder / "images/val/1.xyz")
    (folder / "labels/val/classes.txt").write_text("cell\nplate\n")
    register_yolo("odd", folder, "val")
    (warning,) = (f for f in check_dataset("odd").findings if f.severity == "warning")
    assert "has label files without an image (.avif, .bmp, " in warning.message
    assert warning.examples == (f"{folder}/labels/val/1.txt",)


def test_linked_folders_are_walked_once(folder: Path) -> None:
    (folder / "images" / "val").rename(folder / "pictures")
    (folder / "images" / "val").mkdir()
    (folder / "images" / "val" / "more").symlink_to(folder / "pictures")
    (folder / "pictures" / "again").symlink_to(folder / "images" / "val")
    shutil.copytree(folder / "labels" / "val", folder / "labels" / "val" / "more")
    images = read_yolo(folder, "val").refuse_faults().images
    assert [r["image_id"] for r in images] == [f"images/val/more/{n}.png" for n in OBJECTS]
    assert sum(len(r["annotations"]) for r in images) == 8


def test_files_of_file_managers_are_no_images(folder: Path) -> None:
    (folder / "images" / "val" / "._1.png").write_bytes(b"\0")
    assert len(read_yolo(folder, "val").refuse_faults().images) == len(OBJECTS)


def test_where_labels_were_looked_for_is_said(folder: Path) -> None:
    (folder / "labels").rename(folder / "label")
    with pytest.raises(DataError) as refused:
        read_yolo(folder, "val").refuse_faults()
    assert f"has no label file of any image, such as: 1 ({folder}/labels/val/1.txt)" in str(
        refused.value
    )


def test_what_a_line_holds_is_said(folder: Path) -> None:
    (folder / "labels" / "val" / "1.txt").write_text("0, 0.5, 0.5, 0.2, 0.2\n")
    with pytest.raises(DataError, match=r"line 1 of .*1\.txt: '0, 0\.5, 0\.5, 0\.2, 0\.2'\)"):
        read_yolo(folder, "val").refuse_faults()


def test_lists_of_windows_and_images_that_are_absent(folder: Path) -> None:
    (folder / "list.txt").write_text(".\\images\\val\\1.png\r\nimages\\val\\2.png\r\n")
    _describe(folder, val="list.txt")
    records = read_yolo(folder, "val").refuse_faults()
    assert [Path(r["file_name"]) for r in records.images] == [
        folder / "images/val" / f"{n}.png" for n in (1, 2)
    ]
    assert sum(len(r["annotations"]) for r in records.images) == 5
    assert [f.code for f in records.tally.findings()] == ["backslash"]
    (folder / "list.txt").write_text("images/val/9.png\n")
    with pytest.raises(DataError, match=r"names image files that do not exist: 1 \(.*9\.png\)\.$"):
        read_yolo(folder, "val").refuse_faults()
