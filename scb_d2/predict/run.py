"""Detections on a user's images: a picture of each, and one JSON file of all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from PIL import Image

from scb_d2.engine.config.load import find_config_file
from scb_d2.errors import ConfigError, DataError
from scb_d2.utils.files import atomic_write, make_output_folder
from scb_d2.visualization.boxes import draw_instances

from .categories import Categories
from .images import find_images, read_image
from .predictor import Predictor, load_predictor

__all__ = ["PREDICTIONS_FILE", "predict_images"]

PREDICTIONS_FILE = "predictions.json"


def predict_images(
    config_file: str,
    opts: Sequence[str],
    weights: str | None,
    images: Sequence[str],
    output: str,
    score_threshold: float = 0.5,
) -> int:
    """Detect on images, draw each, and write all detections in COCO's results format.

    Prints a line for each image; one that cannot be used is named on stderr and passed over.

    Args:
        config_file: YAML or LazyConfig.
        opts: overrides of its keys.
        weights: checkpoint; by default ``model_final.pth`` beside the config.
        images: files, folders or patterns.
        output: folder to write into.
        score_threshold: detections with a lower score are left out.

    Returns:
        Number of images that could not be used.

    Raises:
        ConfigError: an argument is wrong.
        DataError: no image could be used.
    """
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"--score-threshold must be from 0 to 1; got {score_threshold}.")
    if os.path.exists(output) and not os.path.isdir(output):
        raise ConfigError(f"--output {output} is a file; it must be a folder.")
    paths = find_images(images)
    pictures = [os.path.join(output, name) for name in _picture_names(paths)]
    _check_pictures(pictures, paths, output)
    predictor = load_predictor(
        config_file, opts, weights or _weights_beside(find_config_file(config_file))
    )

    results, failed = [], 0
    for number, (path, picture) in enumerate(zip(paths, pictures, strict=True), start=1):
        try:
            found = _predict(predictor, path, score_threshold, picture)
        except DataError as error:
            failed += 1
            print(f"[{number}/{len(paths)}] {error}", file=sys.stderr, flush=True)
            continue
        results += _coco_results(found, number, path, predictor.categories)
        print(f"[{number}/{len(paths)}] {path}: {_count(found)}, drawn in {picture}", flush=True)
    if failed == len(paths):
        raise DataError("no image could be used.")
    path = os.path.join(output, PREDICTIONS_FILE)
    with atomic_write(path, encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    print(f"{len(results)} detections with a score of at least {score_threshold:g} in {path}")
    return failed


def _predict(
    predictor: Predictor,
    path: str,
    threshold: float,
    picture_path: str,
) -> Instances:
    """Detect on one image and write its picture."""
    image = read_image(path, predictor.pixel_range)
    try:
        found = predictor(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    found = found[found.scores >= threshold]
    picture = draw_instances(image, found, predictor.categories.name)
    make_output_folder(os.path.dirname(picture_path))
    with atomic_write(picture_path, "wb") as file:
        Image.fromarray(picture).save(file, format="JPEG", quality=92)
    return found


def _coco_results(
    found: Instances, image_id: int, path: str, categories: Categories
) -> list[dict[str, Any]]:
    return [
        {"file_name": path, **result, **categories.coco_category(result["category_id"])}
        for result in instances_to_coco_json(found, image_id)
    ]


def _weights_beside(config_file: str) -> str:
    path = os.path.join(os.path.dirname(config_file), "model_final.pth")
    if not os.path.isfile(path):
        raise ConfigError(f"there is no {path}; give the weights with --weights FILE.")
    return path


def _check_pictures(pictures: Sequence[str], images: Sequence[str], output: str) -> None:
    """Refuse to write over what is read."""
    read = set(map(os.path.realpath, images))
    for picture in pictures:
        if os.path.realpath(picture) in read:
            raise ConfigError(f"--output {output}: {picture}, which is read, would be overwritten.")


def _picture_names(images: Sequence[str]) -> list[str]:
    """Different names for all pictures, also where images of different folders share theirs."""
    taken: set[str] = set()
    names = []
    for path in images:
        stem = os.path.splitext(os.path.basename(path))[0]
        name, copy = f"{stem}.jpg", 1
        while name in taken:
            copy += 1
            name = f"{stem}_{copy}.jpg"
        taken.add(name)
        names.append(name)
    return names


def _count(found: Instances) -> str:
    return f"{len(found)} detection{'' if len(found) == 1 else 's'}"
