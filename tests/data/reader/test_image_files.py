"""Which paths in a folder are images, what is never opened, and what broken files raise."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scb_d2.config import get_cfg
from scb_d2.data import images
from scb_d2.data.mapper import ImageError, build_mapper
from scb_d2.data.reader.images import header_size, is_image_file
from scb_d2.errors import DataError
from scb_d2.predict.images import find_images, read_image
from tests.data.builders import check_coco, write_coco


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "B.JPG", "c.mpo", "._a.png", "notes.txt", "png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait without end
    return tmp_path


def test_files_are_found_by_suffix(folder: Path) -> None:
    found = {name for name in os.listdir(folder) if is_image_file(str(folder / name))}
    assert found == {"a.png", "B.JPG", "c.mpo", "lost.png"}
    assert [os.path.basename(p) for p in find_images([str(folder)])] == sorted(found)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Stop a test that waits for a pipe."""

    def stop(*_: object) -> None:
        raise AssertionError("waits without end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["pipe", "device"])
def endless(request: pytest.FixtureRequest, tmp_path: Path, no_waiting: None) -> Path:
    """A data set whose second image is none that can be read to its end."""
    json_file = write_coco(tmp_path)
    image = tmp_path / "images" / "b.png"
    image.unlink()
    os.mkfifo(image) if request.param == "pipe" else image.symlink_to("/dev/zero")
    return json_file


def test_pipes_and_devices_of_a_data_set_are_named(endless: Path) -> None:
    image, what = endless.parent / "images" / "b.png", "it is a pipe, a socket or a device"
    report = check_coco("endless", endless, endless.parent / "images", headers=None)
    (error,) = [f for f in report.findings if f.severity == "error"]
    assert error.message == (
        f"The annotation file {endless} names image files that cannot be read: 1 ({image}: {what})."
    )
    with pytest.raises(DataError, match=f"the image .*b.png cannot be read: {what}"):
        read_image(str(image))
    with pytest.raises(OSError, match=what):
        header_size(image)


def test_the_mapper_names_them_too(endless: Path) -> None:
    image = str(endless.parent / "images" / "b.png")
    with pytest.raises(ImageError) as refused:
        build_mapper(get_cfg(), True)({"file_name": image, "image_id": 2})
    assert str(refused.value) == (
        f"The image {image} (image_id 2) cannot be read: it is a pipe, a socket or a device."
    )


BROKEN = {
    # A ValueError of Pillow when it is opened, one when it is decoded, a TypeError.
    "depth.png": ("PNG", 11, 0),
    "depth.bmp": ("BMP", 30, 1),
    "offset.tif": ("TIFF", 72, 2),
    "empty.jpg": b"",
    "page.png": b"<html></html>",
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that is whole but for the value of one byte, or no image at all."""
    content = BROKEN[request.param]
    if isinstance(content, tuple):
        kind, place, value = content
        content = bytearray(_saved(kind))
        content[place] = value
    path = tmp_path / request.param
    path.write_bytes(content)
    return path


def test_broken_images_are_named(broken: Path) -> None:
    with pytest.raises(OSError):
        images.read_image(str(broken))
    with pytest.raises(DataError, match=broken.name):
        read_image(str(broken))
    record = {"file_name": str(broken), "image_id": 1, "annotations": []}
    with pytest.raises(ImageError, match=rf"^The image .*{broken.name} \(image_id 1\) "):
        build_mapper(get_cfg(), True)(record)


def _saved(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["BMP", "JPEG2000", "PNG", "PPM", "TIFF"])
def test_whatever_is_broken_raises_one_kind_of_error(kind: str, tmp_path: Path) -> None:
    whole, path = _saved(kind), tmp_path / "a"
    for place in range(min(len(whole), 120)):
        for value in (0, 1):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            for read in (header_size, images.read_image):
                with suppress(OSError):
                    read(str(path))
