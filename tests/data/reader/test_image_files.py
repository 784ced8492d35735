"""Which paths in a folder are images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scb_d2.data.reader.images import is_image_file
from scb_d2.predict.images import find_images


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
