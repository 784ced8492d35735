"""Tiles of a data set: where they lie, what becomes of boxes at borders, and the files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scb_d2.cli import main
from scb_d2.data.tiles.slices import slice_coco
from scb_d2.data.tiles.windows import tile_windows


def coco(*objects, width=100, height=60, images=1):
    """Images of one size, and (image, bbox, ...) objects."""
    return {
        "images": [
            {"id": n, "file_name": f"photos/{n}.png", "width": width, "height": height}
            for n in range(1, images + 1)
        ],
        "annotations": [
            {"id": 10 + i, "image_id": 1, "category_id": 3, "area": 1.0, "iscrowd": 0} | entry
            for i, entry in enumerate(objects)
        ],
        "categories": [{"id": 3, "name": "cell"}],
    }


def test_windows_by_hand():
    """100 x 60 in tiles of 40 that share half: steps of 20, the last ends at the border."""
    assert tile_windows(60, 100, 40, 0.5) == [
        (x, y, x + 40, y + 40) for y in (0, 20) for x in (0, 20, 40, 60)
    ]
    assert tile_windows(60, 100, 40, 0.0)[2] == (60, 0, 100, 40)
    assert tile_windows(30, 100, 64, 0.0) == [(0, 0, 64, 30), (36, 0, 100, 30)]
    assert tile_windows(30, 20, 64, 0.2) == [(0, 0, 20, 30)]


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.integers(8, 128),
    overlap=st.floats(0, 0.9),
)
def test_tiles_cover_every_pixel_and_never_leave_the_image(height, width, size, overlap):
    seen = np.zeros((height, width), dtype=bool)
    windows = tile_windows(height, width, size, overlap)
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert (x1 - x0, y1 - y0) == (min(size, width), min(size, height))
        seen[y0:y1, x0:x1] = True
    assert seen.all() and len(set(windows)) == len(windows)


def test_boxes_at_a_border_by_hand():
    """Two tiles of 60 in an image of 100 x 60: [0, 60) and [40, 100)."""
    data = coco(
        {"bbox": [10, 10, 20, 20], "area": 300.0},  # in the first alone
        {"bbox": [45, 10, 10, 10]},  # in both
        {"bbox": [50, 30, 40, 10], "area": 200.0},  # a quarter in the first, whole in the second
    )
    sliced = slice_coco(data, size=60, overlap=0.0, min_visibility=0.5)
    first, second = sliced.data["images"]
    assert first["window"] == [0, 0, 60, 60] and second["window"] == [40, 0, 100, 60]
    assert second["file_name"] == "photos/1_40_0.png" and second["source_image_id"] == 1
    rows = [
        (a["image_id"], a["source_id"], a["bbox"], a["area"], a["iscrowd"])
        for a in sliced.data["annotations"]
    ]
    assert rows == [
        (1, 10, [10, 10, 20, 20], 300.0, 0),
        (1, 11, [45, 10, 10, 10], 1.0, 0),
        (1, 12, [50, 30, 10, 10], 50.0, 1),
        (2, 11, [5, 10, 10, 10], 1.0, 0),
        (2, 12, [10, 30, 40, 10], 200.0, 0),
    ]
    assert [a["id"] for a in sliced.data["annotations"]] == [1, 2, 3, 4, 5]
    assert sliced.never_visible == 0


def test_a_box_that_reaches_out_of_the_image_is_whole_where_all_that_is_seen_of_it_is():
    """A fifth of the first lies in the image, all of it in the first tile of 60."""
    data = coco({"bbox": [-40, 10, 50, 10], "area": 500.0}, {"bbox": [90, 50, 100, 100]})
    sliced = slice_coco(data, size=60, overlap=0.0, min_visibility=1.0)
    rows = [(a["source_id"], a["bbox"], a["iscrowd"]) for a in sliced.data["annotations"]]
    assert rows == [(10, [0, 10, 10, 10], 0), (11, [50, 50, 10, 10], 0)]
    assert sliced.data["annotations"][0]["area"] == 100 and sliced.never_visible == 0


@given(
    sides=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    width=st.integers(40, 200),
    height=st.integers(40, 200),
)
def test_objects_up_to_the_overlap_are_whole_in_a_tile_and_come_back_from_it(
    sides, at, width, height
):
    """At the default overlap, a fifth of 80 px, and at full visibility."""
    corner = [round(a * (edge - s)) for a, edge, s in zip(at, (width, height), sides, strict=True)]
    box = [*corner, *sides]
    sliced = slice_coco(
        coco({"bbox": box}, width=width, height=height), size=80, min_visibility=1.0
    )
    windows = {image["id"]: image["window"] for image in sliced.data["images"]}
    back = [
        [a["bbox"][0] + windows[a["image_id"]][0], a["bbox"][1] + windows[a["image_id"]][1], *sides]
        for a in sliced.data["annotations"]
        if not a["iscrowd"]
    ]
    assert back and all(b == box for b in back)


def test_crowds_stay_crowds_and_large_objects_are_counted():
    data = coco({"bbox": [0, 0, 100, 60]}, {"bbox": [0, 0, 30, 30], "iscrowd": 1})
    sliced = slice_coco(data, size=32, overlap=0.0, min_visibility=0.5)
    assert all(a["iscrowd"] for a in sliced.data["annotations"]) and sliced.never_visible == 1


def test_tiles_without_objects_may_be_left_out():
    data = coco({"bbox": [0, 0, 10, 10]}, images=2)
    kept = slice_coco(data, size=50, overlap=0.0)
    dropped = slice_coco(data, size=50, overlap=0.0, keep_empty=False)
    assert len(kept.data["images"]) == 8 and kept.dropped_tiles == 0
    assert len(dropped.data["images"]) == 1 and dropped.dropped_tiles == 7
    assert dropped.data["annotations"][0]["image_id"] == dropped.data["images"][0]["id"]


@pytest.fixture
def photographs(tmp_path):
    """Four images of 100 x 60 px whose pixels say where they are."""
    (tmp_path / "photos").mkdir()
    y, x = np.mgrid[:60, :100]
    for n in range(1, 5):
        pixels = np.stack([x, y, np.full_like(x, n)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{n}.png")
    path = tmp_path / "all.json"
    path.write_text(json.dumps(coco({"bbox": [70, 20, 10, 10]}, images=4)))
    return path


def tile(path, *flags):
    images = str(path.parent)
    command = ["tile", str(path), "--images", images, "--output", str(path.parent / "tiles")]
    return main([*command, *flags])


def test_the_command_cuts_pixels_where_the_annotations_say(photographs, capsys):
    assert tile(photographs, "--size", "50", "--overlap", "0") == 0
    out = photographs.parent / "tiles"
    data = json.loads((out / "all.json").read_text())
    assert "16 tiles of 4 photographs, 2 objects and 0 crowd" in capsys.readouterr().out
    box = data["annotations"][0]
    image = next(i for i in data["images"] if i["id"] == box["image_id"])
    pixels = np.asarray(Image.open(out / "images" / image["file_name"]))
    x, y = box["bbox"][:2]
    assert pixels[int(y), int(x)].tolist() == [70, 20, 1]


def test_names_and_sizes_are_read_as_everywhere(photographs):
    data, folder = json.loads(photographs.read_text()), photographs.parent
    for image, spell in zip(
        data["images"],
        ("{0}/photos/1.png", "photos\\2.png", "photos%2F3.png", "photos/4.png"),
        strict=True,
    ):
        image["file_name"] = spell.format(folder)
        del image["width"], image["height"]
    photographs.write_text(json.dumps(data))
    assert tile(photographs, "--size", "50", "--overlap", "0") == 0
    rows = json.loads((folder / "tiles" / "all.json").read_text())["images"]
    assert {r["source_file_name"] for r in rows} == {f"photos/{n}.png" for n in range(1, 5)}
    assert len(rows) == 16


@pytest.mark.parametrize("name", ["../photos/1.png", "/photos/1.png"])
def test_photographs_outside_their_folder_are_refused(photographs, capsys, name):
    data = json.loads(photographs.read_text())
    data["images"][0]["file_name"] = name
    photographs.write_text(json.dumps(data))
    assert tile(photographs, "--size", "50") == 1
    assert "needs a file_name below the folder of the images; got " in capsys.readouterr().err


def test_a_split_keeps_a_photographs_tiles_together(photographs):
    assert tile(photographs, "--size", "50", "--test-share", "0.25", "--seed", "3") == 0
    sources = [
        {
            i["source_image_id"]
            for i in json.loads((photographs.parent / "tiles" / f).read_text())["images"]
        }
        for f in ("train.json", "test.json")
    ]
    assert len(sources[0]) == 3 and len(sources[1]) == 1 and not sources[0] & sources[1]


def test_a_photograph_that_is_listed_twice_goes_into_one_part(photographs):
    data = json.loads(photographs.read_text())
    for image in data["images"]:  # 1 to 4, and each again as 11 to 14
        again = {"id": image["id"] + 10, "file_name": f"./{image['file_name']}"}
        data["images"] = [*data["images"], image | again]
    data["images"] = data["images"][:8]
    photographs.write_text(json.dumps(data))
    assert tile(photographs, "--size", "50", "--test-share", "0.5") == 0
    sources = [
        {
            i["source_file_name"]
            for i in json.loads((photographs.parent / "tiles" / f).read_text())["images"]
        }
        for f in ("train.json", "test.json")
    ]
    assert len(sources[0]) == len(sources[1]) == 2 and not sources[0] & sources[1]


@pytest.mark.parametrize("output", [".", "photos/.."])
def test_the_files_that_are_read_are_not_written_over(photographs, capsys, output):
    before, folder = photographs.read_text(), photographs.parent
    command = ["tile", str(photographs), "--images", str(folder), "--size", "50", "--output"]
    assert main([*command, str(folder / output)]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert photographs.read_text() == before and not (folder / "images").exists()


def test_tiles_are_not_written_among_the_photographs(photographs, capsys):
    folder = photographs.parent
    (folder / "photos").rename(folder / "images")
    data = json.loads(photographs.read_text().replace("photos/", ""))
    (folder / "in.json").write_text(json.dumps(data))
    (folder / "all.json").unlink()
    command = ["tile", str(folder / "in.json"), "--images", str(folder / "images")]
    flags = ["--size", "50", "--test-share", "0.5", "--output", str(folder)]
    assert main([*command, *flags]) == 1
    assert "among the photographs" in capsys.readouterr().err
    assert len(list((folder / "images").iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("1.png", "PNG", "I;16"),
        ("1.png", "PNG", "P"),
        ("1.webp", "WEBP", "RGB"),
        ("1.jpg", "PNG", "RGBA"),  # a PNG by another name
        ("1", "BMP", "RGB"),
    ],
)
def test_pixels_come_out_as_they_went_in(tmp_path, name, kind, mode):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    image.save(tmp_path / name, format=kind, **({"lossless": True} if kind == "WEBP" else {}))
    data = coco({"bbox": [5, 5, 10, 10]})
    data["images"][0]["file_name"] = name
    path = tmp_path / "all.json"
    path.write_text(json.dumps(data))
    assert tile(path, "--size", "40", "--overlap", "0") == 0
    row = json.loads((tmp_path / "tiles" / "all.json").read_text())["images"][-1]
    cut = Image.open(tmp_path / "tiles" / "images" / row["file_name"])
    assert (cut.format, cut.mode) == (kind, mode)
    assert np.array_equal(np.asarray(cut), np.asarray(image.crop(row["window"])))


def test_a_photograph_of_another_size_than_its_annotations_is_refused(photographs, capsys):
    Image.new("RGB", (200, 120)).save(photographs.parent / "photos" / "2.png")
    assert tile(photographs, "--size", "50") == 1
    assert "has 200 x 120 pixels, but its annotations say 100 x 60" in capsys.readouterr().err
    assert not (photographs.parent / "tiles").exists()


def test_nothing_left_is_said(photographs, capsys):
    photographs.write_text(json.dumps(coco({"bbox": [0, 0, 100, 60]}, images=4)))
    assert tile(photographs, "--size", "32", "--drop-empty") == 1
    assert "no tile shows an object" in capsys.readouterr().err


def test_a_photograph_in_two_parts_is_refused(photographs, capsys):
    twin = photographs.with_name("test.json")
    twin.write_text(photographs.read_text())
    files = [str(photographs), str(twin)]
    flags = ["--images", str(photographs.parent), "--output", str(photographs.parent / "tiles")]
    assert main(["tile", *files, *flags, "--size", "50"]) == 1
    assert "is in both" in capsys.readouterr().err
    assert not (photographs.parent / "tiles").exists()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--size", "8"], "--size must be"),
        (["--size", "50", "--overlap", "1"], "--overlap must be"),
        (["--size", "50", "--min-visibility", "0"], "--min-visibility"),
        (["--size", "50", "--test-share", "2"], "--test-share must"),
    ],
)
def test_wrong_flags_give_one_sentence(photographs, capsys, flags, word):
    assert tile(photographs, *flags) == 1
    error = capsys.readouterr().err
    assert word in error and len(error.strip().splitlines()) == 1
    assert not (photographs.parent / "tiles").exists()


def test_a_photograph_that_is_a_pipe_is_named(photographs, capsys):
    image = photographs.parent / "photos" / "3.png"
    image.unlink()
    image.symlink_to("/dev/null")
    assert tile(photographs, "--size", "50") == 1
    told = f"the image {image} cannot be read: it is a pipe, a socket or a device."
    assert capsys.readouterr().err.strip().splitlines()[-1] == told


def test_a_missing_photograph_leaves_nothing_behind(photographs, capsys):
    (photographs.parent / "photos" / "3.png").unlink()
    assert tile(photographs, "--size", "50") == 1
    assert "3.png does not exist" in capsys.readouterr().err
    assert not (photographs.parent / "tiles").exists()
