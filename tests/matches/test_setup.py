"""Data sets of a match report: of image files only the sizes of a few are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scb_d2.data.registration import register_coco
from scb_d2.errors import ConfigError, DataError
from scb_d2.matches.setup import load_records, load_setup
from tests.data.cases.builders import HEIGHT, WIDTH, write_coco


def _turned(content: dict[str, Any]) -> None:
    for image in content["images"]:
        image["width"], image["height"] = HEIGHT, WIDTH


def test_sizes_that_are_not_those_of_the_images_are_refused(tmp_path: Path) -> None:
    register_coco("turned", *write_coco(tmp_path, _turned))
    with pytest.raises(DataError, match="has another width or height than the image files"):
        load_records("turned")


def test_images_that_are_absent_or_broken_are_not_needed(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path, _turned)
    (images / "1.png").write_bytes(b"no image")
    for number in (2, 3, 4):
        (images / f"{number}.png").unlink()
    register_coco("absent", json_file, images)
    assert len(load_records("absent")[0]) == 4


@pytest.mark.parametrize("sizes", ["[[0]]", "[[]]", "[]"])
@pytest.mark.parametrize(
    ("config", "opts"),
    [
        ("retinanet_R_50_FPN_1x.yaml", ["MODEL.ANCHOR_GENERATOR.SIZES"]),
        ("retinanet_R_50_FPN_1x.py", ["model.anchor_generator.sizes="]),
    ],
)
def test_anchors_that_cannot_be_are_refused(config: str, opts: list[str], sizes: str) -> None:
    opts = [*opts, sizes] if config.endswith("yaml") else [f"{opts[0]}{sizes}"]
    with pytest.raises(ConfigError, match=r"(?i)anchor_generator\.sizes must be above 0; got "):
        load_setup(f"COCO-Detection/{config}", opts)
