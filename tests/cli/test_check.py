"""``scb-d2 check``: what it says about data sets, and its exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from scb_d2.cli import main
from tests.data.builders import check_coco, voc_object, write_coco, write_voc

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the command on one data set, given as an entry of ``DATASETS.REGISTER``."""

    def run(entry: dict[str, Any], *flags: str, num_classes: int = 2) -> tuple[int, str]:
        config = {
            "MODEL": {
                "META_ARCHITECTURE": "RetinaNet",
                "RETINANET": {"NUM_CLASSES": num_classes},
                "DEVICE": "cpu",
            },
            "DATASETS": {"REGISTER": [{"NAME": "mine", **entry}], "TRAIN": ["mine"], "TEST": []},
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        status = main(["check", "--config-file", str(path), *flags])
        return status, capsys.readouterr().out

    return run


def _coco(folder: Path, change: Callable[[dict], Any] = lambda content: None) -> dict[str, str]:
    path = write_coco(folder / "coco", change)
    return {"FORMAT": "coco", "JSON": str(path), "IMAGES": str(path.parent / "images")}


def test_a_sound_data_set_passes(check: Check, tmp_path: Path) -> None:
    status, out = check(_coco(tmp_path), "--strict")
    assert status == 0
    assert out.splitlines()[-2:] == [
        "mine: 2 images, 2 objects",
        "0 errors, 0 warnings, 0 notes.",
    ]


def test_warnings_fail_only_under_strict(check: Check, tmp_path: Path) -> None:
    entry = _coco(tmp_path, lambda c: c["annotations"][0].update(area=999))
    status, out = check(entry)
    assert status == 0
    assert (
        f"  warning: The annotation file {entry['JSON']} has areas that exceed "
        "the box, so that sizes are counted wrongly: 1 (annotation 1: 999 of bbox [1, 2, 10, 12])."
    ) in out.splitlines()
    assert check(entry, "--strict")[0] == 1


def test_images_that_break_off_are_found_by_decoding(check: Check, tmp_path: Path) -> None:
    entry = _coco(tmp_path)
    assert check(entry, "--decode")[0] == 0
    image = Path(entry["IMAGES"]) / "b.png"
    image.write_bytes(image.read_bytes()[:-30])
    assert check(entry)[0] == 0
    status, out = check(entry, "--decode")
    assert status == 1
    assert (
        "  error: The data set 'mine' names image files whose header is sound and whose pixels "
        f"cannot be read: 1 ({image}: image file is truncated)."
    ) in out.splitlines()
    image.write_bytes(b"")  # its header is named, and named once
    assert "1 error, " in check(entry, "--decode")[1]


def test_all_errors_are_told_at_once(check: Check, tmp_path: Path) -> None:
    def change(content: dict) -> None:
        content["annotations"][0]["category_id"] = 9
        content["annotations"][1]["bbox"] = [5, 5, -2, 4]

    status, out = check(_coco(tmp_path, change))
    assert status == 1
    assert "annotation 1 with category_id 9" in out
    assert "annotation 2 with bbox [5, 5, -2, 4]" in out
    assert "2 errors, 0 warnings, 2 notes." in out


def test_another_number_of_classes_is_an_error(check: Check, tmp_path: Path) -> None:
    status, out = check(_coco(tmp_path), num_classes=3)
    assert status == 1
    assert "error: The model has 3 classes and the data set 'mine' has 2" in out


def test_image_files_are_looked_into(check: Check, tmp_path: Path) -> None:
    entry = _coco(tmp_path)
    images = Path(entry["IMAGES"])
    (images / "a.png").write_bytes(b"no image")
    Image.new("RGB", (40, 31)).save(images / "b.png")
    status, out = check(entry)
    assert status == 1
    assert f"({images}/a.png: no image of a known format)" in out
    assert f"({images}/b.png: 40 x 31, not 40 x 30)" in out
    assert check(entry, "--skip-images")[0] == 0


@pytest.mark.parametrize(("stored", "orientation"), [((40, 30), 3), ((30, 40), 6)])
def test_images_turned_by_exif_are_a_warning(
    check: Check, tmp_path: Path, stored: tuple[int, int], orientation: int
) -> None:
    entry = _coco(tmp_path, lambda c: c["images"][0].update(file_name="a.jpg"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", stored).save(Path(entry["IMAGES"]) / "a.jpg", exif=exif)
    status, out = check(entry)
    assert status == 0
    assert f"a.jpg: orientation {orientation}" in out
    assert "1 warning," in out


def test_voc_flags_and_empty_images_are_notes(check: Check, tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc", {"a": voc_object(difficult=1), "b": ""})
    entry = {"FORMAT": "voc", "DIR": str(folder), "SPLIT": "val", "CLASSES": ["cat", "dog"]}
    status, out = check(entry, "--strict")
    assert status == 0
    for found in (
        "difficult objects",
        "images without an annotation",
        "categories without an annotation",
    ):
        assert f"note: The VOC data set {folder} (split 'val') has {found}" in out


def test_voc_ids_stay_in_their_folders(check: Check, tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc", {"a": voc_object()})
    with (folder / "ImageSets/Main/val.txt").open("a") as file:
        file.write("../../secret\n")
    entry = {"FORMAT": "voc", "DIR": str(folder), "SPLIT": "val", "CLASSES": ["cat", "dog"]}
    status, out = check(entry)
    assert status == 1
    assert "names image files that lead out of the image folder: 1 ('../../secret.jpg')" in out


def test_at_the_start_of_a_run_some_headers_are_read(tmp_path: Path) -> None:
    entry = _coco(tmp_path)
    for name in ("a.png", "b.png"):
        (Path(entry["IMAGES"]) / name).write_bytes(b"")
    found = check_coco("mine", entry["JSON"], entry["IMAGES"], headers=1).findings
    assert [(f.code, f.count) for f in found] == [("unreadable-image", 1)]


def test_a_lazy_config_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_coco(tmp_path / "coco")
    config = tmp_path / "lazy.py"
    config.write_text(
        "from detectron2.model_zoo import get_config\n"
        "from scb_d2.data.registration import register_coco\n"
        f"register_coco('lazy_mine', {str(path)!r}, {str(path.parent / 'images')!r})\n"
        "cfg = get_config('COCO-Detection/retinanet_R_50_FPN_1x.py')\n"
        "model, optimizer, lr_multiplier = cfg.model, cfg.optimizer, cfg.lr_multiplier\n"
        "dataloader, train = cfg.dataloader, cfg.train\n"
        "dataloader.train.dataset.names = dataloader.test.dataset.names = 'lazy_mine'\n"
    )
    assert main(["check", "--config-file", str(config)]) == 1
    out = capsys.readouterr().out
    assert "error: The model has 80 classes and the data set 'lazy_mine' has 2" in out
    assert main(["check", "--config-file", str(config), "model.num_classes=2"]) == 0


def test_annotations_that_are_no_json_are_an_error(check: Check, tmp_path: Path) -> None:
    entry = _coco(tmp_path)
    Path(entry["JSON"]).write_text("{")
    status, out = check(entry)
    assert status == 1
    assert f"error: The annotation file {entry['JSON']} is not JSON" in out


def test_no_number_of_classes_is_advised_where_categories_are_faulty(
    check: Check, tmp_path: Path
) -> None:
    status, out = check(_coco(tmp_path, lambda c: c["categories"][0].update(name=None)))
    assert status == 1
    assert "has categories without an id" in out and "NUM_CLASSES" not in out
