from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from matplotlib.colors import to_rgb
from PIL import Image

from scb_d2 import DataError
from scb_d2.visualization.boxes import draw_instances
from scb_d2.visualization.curves import read_metrics, write_training_curves
from scb_d2.visualization.grid import write_picture_grid
from scb_d2.visualization.palette import GROUND_TRUTH, class_colour


def instances(boxes: list[list[float]], classes: list[int], size: tuple[int, int]) -> Instances:
    found = Instances(size)
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    found.scores = torch.full((len(classes),), 0.75)
    return found


def has_colour(picture: np.ndarray, colour: str) -> bool:
    distance = np.abs(picture / 255.0 - np.array(to_rgb(colour))).max(axis=-1)
    return bool((distance < 0.02).any())


def test_small_images_are_enlarged_and_large_ones_are_not() -> None:
    none = instances([], [], (32, 64))
    assert draw_instances(np.zeros((32, 64, 3), np.uint8), none, str).shape[:2] == (256, 512)
    picture = draw_instances(np.zeros((80, 160, 3), np.uint8), none, str, min_side=480)
    assert picture.shape == (240, 480, 3)
    assert draw_instances(np.zeros((700, 900, 3), np.uint8), none, str).shape == (700, 900, 3)


def test_boxes_have_their_colours_at_their_places() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    found = instances([[10, 40, 40, 80]], [1], (100, 100))
    picture = draw_instances(image, found, "class {}".format, np.array([[60.0, 40, 90, 80]]))
    half = picture.shape[1] // 2
    assert has_colour(picture[:, :half], class_colour(1))
    assert not has_colour(picture[:, :half], GROUND_TRUTH)
    assert has_colour(picture[:, half:], GROUND_TRUTH)


def test_masks_are_drawn() -> None:
    found = instances([[10, 10, 60, 60]], [0], (100, 100))
    found.pred_masks = torch.zeros(1, 100, 100, dtype=torch.bool)
    found.pred_masks[:, 20:50, 20:50] = True
    picture = draw_instances(np.zeros((100, 100, 3), np.uint8), found, str)
    assert picture[picture.shape[0] * 35 // 100, picture.shape[1] * 35 // 100].any()


@pytest.mark.parametrize("number", [1, 3, 8])
def test_grid_holds_any_number_of_pictures(tmp_path: Path, number: int) -> None:
    pictures = [np.zeros((50, 50, 3), np.uint8)] * number
    path = tmp_path / "grid.png"
    write_picture_grid(path, pictures, ["caption"] * number, ["circle", "cross"], "title")
    assert Image.open(path).format == "PNG"


def test_grid_of_wide_pictures_leaves_no_gaps(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    height, width = 60, 120
    write_picture_grid(path, [np.zeros((height, width, 3), np.uint8)] * 4, [""] * 4, [], "", 2)
    grid = np.asarray(Image.open(path).convert("L"))
    black = (grid == 0).mean(axis=1) > 0.8  # rows of pixels through two pictures
    assert black.mean() > 0.6


def lines_of_a_run(weighted: bool = True) -> list[dict]:
    lines = []
    for i in range(0, 60, 20):
        line = {"iteration": i, "total_loss": 2.0, "loss_cls": 1.0, "loss_box_reg": 1.0}
        if weighted:
            line |= {f"scb/first/matches_p{p}": float(p) for p in (10, 50, 90)}
            line |= {f"scb/first/loss_share_input_{s}": 0.5 for s in ("small", "medium")}
            line["scb/first/loss_share_input_large"] = 0.0
        lines.append(line)
    return lines


def write_lines(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_curves_show_the_statistics_where_there_are_some(tmp_path: Path) -> None:
    widths = []
    for weighted in (True, False):
        metrics = write_lines(tmp_path / "metrics.json", lines_of_a_run(weighted))
        write_training_curves(tmp_path / "curves.png", metrics, "title")
        widths.append(Image.open(tmp_path / "curves.png").width)
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.01)


def test_metrics_of_a_resumed_and_killed_run_are_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "metrics.json", lines_of_a_run())
    with path.open("a") as file:
        file.write('{"iteration": 20, "total_loss": 5.0}\n{"iteration": 60, "tot')
    metrics = read_metrics(path)
    assert [line["iteration"] for line in metrics] == [0, 20, 40]
    assert metrics[1]["total_loss"] == 5.0 and metrics[1]["loss_cls"] == 1.0


def test_missing_metrics_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the metrics"):
        read_metrics(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text("")
    with pytest.raises(DataError, match="holds no metrics"):
        read_metrics(tmp_path / "metrics.json")
