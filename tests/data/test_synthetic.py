"""The shapes: same bytes for a seed, sizes log-uniform, never half made."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from scb_d2.data import synthetic
from scb_d2.data.synthetic import (
    SHAPE_CLASSES,
    ensure_shapes,
    generate_shapes,
    shapes_folder,
)
from scb_d2.errors import DataError
from tests.data.builders import check_coco


def _digest(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_shapes(tmp_path_factory.mktemp("shapes") / "train", 150, 160, seed=4)


@pytest.fixture(scope="module")
def content(shapes: Path) -> dict:
    return json.loads((shapes / "annotations.json").read_text())


def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        generate_shapes(tmp_path / name, 4, 64, seed)
    first, again, other = (_digest(tmp_path / name) for name in "abc")
    assert len(first) == 5
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_a_longer_data_set_starts_with_a_shorter_one(tmp_path: Path) -> None:
    for name, count in (("short", 2), ("long", 3)):
        (tmp_path / name).mkdir()
        generate_shapes(tmp_path / name, count, 64, seed=0)
    short, long = _digest(tmp_path / "short"), _digest(tmp_path / "long")
    assert {key: long[key] for key in short if key.endswith(".png")} == {
        key: value for key, value in short.items() if key.endswith(".png")
    }


def test_sizes_are_log_uniform_between_8_pixels_and_half_the_image(content: dict) -> None:
    sides = np.array([max(ann["bbox"][2:]) for ann in content["annotations"]])
    assert len(sides) > 4 * 150
    assert sides.min() >= 7.98
    assert sides.max() <= 80.02
    counts, _ = np.histogram(sides, np.geomspace(7.98, 80.02, 6))
    expected = len(sides) / 5
    # 5 standard deviations of a binomial count.
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * 0.8)


def test_there_are_small_objects_of_every_class(content: dict) -> None:
    small = [ann["category_id"] for ann in content["annotations"] if ann["area"] < 32**2]
    assert len(small) > 0.5 * len(content["annotations"])
    assert np.bincount(small, minlength=5)[1:].min() > 0.15 * len(small)
    assert [category["name"] for category in content["categories"]] == list(SHAPE_CLASSES)


def test_boxes_and_areas_are_those_of_the_outlines(content: dict) -> None:
    for ann in content["annotations"][:60]:
        points = np.array(ann["segmentation"][0]).reshape(-1, 2)
        box = [*points.min(axis=0), *np.ptp(points, axis=0)]
        np.testing.assert_allclose(ann["bbox"], box, atol=0.011)
        assert ann["area"] <= ann["bbox"][2] * ann["bbox"][3] + 0.1
        if ann["area"] > 200:
            rles = coco_mask.frPyObjects(ann["segmentation"], 160, 160)
            assert float(coco_mask.area(rles)[0]) == pytest.approx(ann["area"], rel=0.1)


def test_objects_differ_from_what_surrounds_them(shapes: Path, content: dict) -> None:
    contrasts = []
    for ann in content["annotations"][:100]:
        with Image.open(shapes / "images" / f"{ann['image_id'] - 1:06d}.png") as image:
            pixels = np.asarray(image, dtype=float)
        x, y, width, height = ann["bbox"]
        inside = pixels[int(y + height / 2), int(x + width / 2)]
        contrasts.append(np.abs(inside - pixels.mean(axis=(0, 1))).sum())
    assert np.median(contrasts) > 60


def test_the_data_set_passes_its_own_check_without_a_finding(shapes: Path) -> None:
    report = check_coco("shapes", shapes / "annotations.json", shapes / "images")
    assert report.findings == []
    assert report.num_images == 150


def test_a_killed_generation_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "val"
    rendered = synthetic._render

    def killed_at_the_third_image(seed: int, index: int, size: int):
        if index == 2:
            raise KeyboardInterrupt
        return rendered(seed, index, size)

    monkeypatch.setattr(synthetic, "_render", killed_at_the_third_image)
    with pytest.raises(KeyboardInterrupt):
        ensure_shapes(folder, 4, 64, seed=0)
    assert not folder.exists()
    monkeypatch.setattr(synthetic, "_render", rendered)
    ensure_shapes(folder, 4, 64, seed=0)
    assert len(list((folder / "images").iterdir())) == 4


def test_what_a_sigkill_leaves_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".partial-val-old", tmp_path / ".partial-val-new"
    for leftover in (old, new):
        leftover.mkdir()
    os.utime(old, (0, 0))
    ensure_shapes(tmp_path / "val", 1, 64, seed=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-val-new", "val"]


def test_the_second_of_two_processes_keeps_what_the_first_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "val"
    generate = synthetic.generate_shapes

    def meanwhile(partial: Path, *recipe: int) -> None:
        generate(partial, *recipe)
        monkeypatch.setattr(synthetic, "generate_shapes", generate)
        ensure_shapes(folder, *recipe)

    monkeypatch.setattr(synthetic, "generate_shapes", meanwhile)
    assert ensure_shapes(folder, 1, 64, 0) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["val"]


def test_an_existing_data_set_is_not_made_again(tmp_path: Path) -> None:
    ensure_shapes(tmp_path / "val", 1, 64, seed=0)
    before = (tmp_path / "val" / "annotations.json").stat().st_mtime_ns
    ensure_shapes(tmp_path / "val", 1, 64, seed=0)
    assert (tmp_path / "val" / "annotations.json").stat().st_mtime_ns == before


def test_the_folder_name_holds_all_that_determines_the_bytes(tmp_path: Path) -> None:
    recipes = [(600, 160, 0), (601, 160, 0), (600, 161, 0), (600, 160, 1)]
    folders = {shapes_folder(tmp_path, "train", *recipe) for recipe in recipes}
    assert len(folders) == 4


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as wrong:
        ensure_shapes(tmp_path / "file" / "val", 1, 64, seed=0)
    assert str(wrong.value) == (
        f"The shapes cannot be written to {tmp_path}/file/val: File exists; choose another folder "
        "with DATASETS.SYNTHETIC.ROOT."
    )
