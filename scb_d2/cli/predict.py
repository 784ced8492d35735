"""Draw detections on your own images and save them as JSON.

IMAGE is a file, a folder, or a quoted pattern such as 'photos/*.jpg'. For every image OUTPUT gets
a picture; predictions.json holds all detections in COCO's results format, each with its file_name
and category_name besides.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scb_d2.errors import ConfigError, DataError
from scb_d2.utils.files import atomic_write

from ._arguments import add_config_file, add_overrides

if TYPE_CHECKING:
    from detectron2.structures import Instances

    from scb_d2.predict.categories import Categories
    from scb_d2.predict.predictor import Predictor

__all__ = ["PREDICTIONS_FILE", "add_arguments", "run"]

PREDICTIONS_FILE = "predictions.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or pattern")
    add_config_file(parser, "YAML, such as config.yaml in the folder of a run, or LazyConfig .py")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="checkpoint (default: model_final.pth beside the config file)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write into")
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="S",
        help="leave out detections with a lower score, 0 to 1 (default: 0.5); the config's own "
        "threshold for tests still applies",
    )
    add_overrides(parser, flag=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; 1 if an image could not be used."""
    from detectron2.utils.logger import setup_logger

    from scb_d2.engine.config.load import find_config_file
    from scb_d2.predict.images import find_images
    from scb_d2.predict.predictor import load_predictor

    setup_logger(name="scb_d2")
    if not 0 <= args.score_threshold <= 1:
        raise ConfigError(f"--score-threshold must be from 0 to 1; got {args.score_threshold}.")
    if os.path.exists(args.output) and not os.path.isdir(args.output):
        raise ConfigError(f"--output {args.output} is a file; it must be a folder.")
    images = find_images(args.images)
    weights = args.weights or _weights_beside(find_config_file(args.config_file))
    predictor = load_predictor(args.config_file, args.opts, weights)

    results, failed = [], 0
    names = _picture_names(images)
    for number, (path, name) in enumerate(zip(images, names, strict=True), start=1):
        picture = os.path.join(args.output, name)
        try:
            found = _predict(predictor, path, args.score_threshold, picture)
        except DataError as error:
            failed += 1
            print(f"[{number}/{len(images)}] {error}", file=sys.stderr, flush=True)
            continue
        results += _coco_results(found, number, path, predictor.categories)
        print(f"[{number}/{len(images)}] {path}: {_count(found)}, drawn in {picture}", flush=True)
    if failed == len(images):
        raise DataError("no image could be used.")
    path = os.path.join(args.output, PREDICTIONS_FILE)
    with atomic_write(path, encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    print(f"{len(results)} detections with a score of at least {args.score_threshold:g} in {path}")
    return 1 if failed else 0


def _predict(
    predictor: "Predictor",
    path: str,
    threshold: float,
    picture_path: str,
) -> "Instances":
    """Detect on one image and write its picture."""
    from PIL import Image

    from scb_d2.predict.images import read_image
    from scb_d2.visualization.boxes import draw_instances

    image = read_image(path)
    found = predictor(image)
    found = found[found.scores >= threshold]
    picture = draw_instances(image, found, predictor.categories.name)
    os.makedirs(os.path.dirname(picture_path), exist_ok=True)
    with atomic_write(picture_path, "wb") as file:
        Image.fromarray(picture).save(file, format="JPEG", quality=92)
    return found


def _coco_results(
    found: "Instances", image_id: int, path: str, categories: "Categories"
) -> list[dict[str, Any]]:
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    return [
        {"file_name": path, **result, **categories.coco_category(result["category_id"])}
        for result in instances_to_coco_json(found, image_id)
    ]


def _weights_beside(config_file: str) -> str:
    path = os.path.join(os.path.dirname(config_file), "model_final.pth")
    if not os.path.isfile(path):
        raise ConfigError(f"there is no {path}; give the weights with --weights FILE.")
    return path


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


def _count(found: "Instances") -> str:
    return f"{len(found)} detection{'' if len(found) == 1 else 's'}"
