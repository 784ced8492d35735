"""Multi-scale shapes: a small seeded detection data set in COCO JSON, for quick starts and tests.

Image ``k`` of a data set depends on ``(seed, k)`` alone, so a longer data set starts with the
images of a shorter one. Object sizes are log-uniform: as many objects between 8 and 16 px as
between 32 and 64 px, which is the imbalance of matched anchors that the loss is about.
"""

import json
import logging
import math
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from scb_d2.errors import DataError

__all__ = ["MIN_OBJECT_SIZE", "SHAPE_CLASSES", "ensure_shapes", "generate_shapes", "shapes_folder"]

logger = logging.getLogger(__name__)

SHAPE_CLASSES = ("circle", "square", "triangle", "cross")
MIN_OBJECT_SIZE = 8.0

# Part of the folder name: raise it whenever the pixels or boxes of a given seed change.
_VERSION = 1
_OVERSAMPLE = 3
_OBJECTS_PER_IMAGE = (3, 9)
_MAX_COVERED = 0.25
_PLACEMENT_TRIES = 40
_STALE_SECONDS = 3600.0


def _unit_polygon(category: str) -> np.ndarray:
    """Corners of a class's outline around the origin, shape (P, 2)."""
    if category == "circle":
        angles = np.linspace(0.0, 2 * math.pi, 32, endpoint=False)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if category == "square":
        return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    if category == "triangle":
        angles = np.array([-0.5, 1 / 6, 5 / 6]) * math.pi
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    arm = 0.36
    quarter = np.array([[arm, arm], [arm, 1.0], [-arm, 1.0]])
    turns = [quarter @ _rotation(-k * math.pi / 2) for k in range(4)]
    return np.concatenate(turns)


def _rotation(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth colour patches with fine grain, (size, size, 3) float32 in 0-255."""
    coarse = rng.integers(80, 176, (5, 5, 3), dtype=np.uint8)
    patches = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    ripple = rng.integers(0, 256, (size // 4 + 1, size // 4 + 1), dtype=np.uint8)
    texture = Image.fromarray(ripple).resize((size, size), Image.Resampling.BILINEAR)
    grain = rng.normal(0.0, 4.0, (size, size, 1)).astype(np.float32)
    shade = (np.asarray(texture, dtype=np.float32)[..., None] - 128.0) * 0.2
    return np.asarray(patches, dtype=np.float32) + shade + grain


def _random_colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(c) for c in rng.integers(0, 256, 3))


def _contrasting_colour(rng: np.random.Generator, ground: np.ndarray) -> tuple[int, ...]:
    """A colour far enough from the mean ``ground`` colour to be seen."""
    best = max((rng.integers(0, 256, 3) for _ in range(4)), key=lambda c: np.abs(c - ground).sum())
    return tuple(int(c) for c in best)


def _draw_clutter(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: int) -> None:
    """Distractors of no class: strokes, arcs and specks, thinner than any object."""
    for _ in range(int(rng.integers(4, 10))):
        x, y = rng.uniform(0, size, 2)
        length = float(np.exp(rng.uniform(math.log(6.0), math.log(size / 2))))
        colour = _random_colour(rng)
        angle = float(rng.uniform(0, 360))
        kind = int(rng.integers(0, 3))
        scale = _OVERSAMPLE
        width = int(rng.integers(1, scale * 2))
        if kind == 0:
            dx, dy = length * math.cos(math.radians(angle)), length * math.sin(math.radians(angle))
            ends = [x * scale, y * scale, (x + dx) * scale, (y + dy) * scale]
            draw.line(ends, fill=colour, width=width)
        elif kind == 1:
            box = [v * scale for v in (x, y, x + length, y + length)]
            draw.arc(box, angle, angle + float(rng.uniform(40, 140)), fill=colour, width=width)
        else:
            for px, py in rng.normal((x, y), length / 4, (6, 2)):
                box = [px * scale, py * scale, (px + 1.5) * scale, (py + 1.5) * scale]
                draw.rectangle(box, fill=colour)


def _place_outlines(rng: np.random.Generator, size: int) -> list[tuple[int, np.ndarray]]:
    """Class index and outline of each object, the largest first; (P, 2) points in pixels.

    The longer side of an outline's box is log-uniform in [8, size / 2]. Small objects may cover
    up to a quarter of a larger one, never the other way round; an object that finds no room in
    40 tries is left out.
    """
    count = int(rng.integers(_OBJECTS_PER_IMAGE[0], _OBJECTS_PER_IMAGE[1] + 1))
    sides = np.exp(rng.uniform(math.log(MIN_OBJECT_SIZE), math.log(size / 2), count))
    placed: list[tuple[int, np.ndarray]] = []
    boxes = np.zeros((0, 4))
    for side in np.sort(sides)[::-1]:
        category = int(rng.integers(len(SHAPE_CLASSES)))
        points = _unit_polygon(SHAPE_CLASSES[category]) @ _rotation(rng.uniform(0, 2 * math.pi))
        points *= side / np.ptp(points, axis=0).max()
        points -= points.min(axis=0)
        extent = points.max(axis=0)
        for _ in range(_PLACEMENT_TRIES):
            corner = rng.uniform(0, size - extent)
            box = np.concatenate([corner, corner + extent])
            lower, upper = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
            shared = (upper - lower).clip(min=0).prod(axis=1)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            if (shared <= _MAX_COVERED * np.minimum(areas, extent.prod())).all():
                placed.append((category, points + corner))
                boxes = np.concatenate([boxes, box[None]])
                break
    return placed


def _render(seed: int, index: int, size: int) -> tuple[Image.Image, list[tuple[int, np.ndarray]]]:
    rng = np.random.default_rng([seed, index])
    ground = _background(rng, size)
    base = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    canvas = base.resize((size * _OVERSAMPLE,) * 2, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    _draw_clutter(rng, draw, size)
    outlines = _place_outlines(rng, size)
    for _, points in outlines:
        x, y = points.mean(axis=0).astype(int)
        colour = _contrasting_colour(rng, ground[y, x])
        draw.polygon([(px * _OVERSAMPLE, py * _OVERSAMPLE) for px, py in points], fill=colour)
    image = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), dtype=np.float32)
    # Grain over everything, so that flat colour alone does not give an object away.
    image = image + rng.normal(0.0, 5.0, (size, size, 1)).astype(np.float32)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8)), outlines


def generate_shapes(folder: str | Path, num_images: int, image_size: int, seed: int) -> None:
    """Write ``annotations.json`` and ``images/*.png`` of a shapes data set into ``folder``.

    Args:
        folder: an existing, empty directory.
        num_images: how many images.
        image_size: side of the square images in pixels; at least 32.
        seed: with the same seed (and library versions) the same bytes are written.
    """
    folder = Path(folder)
    (folder / "images").mkdir()
    images, annotations = [], []
    for index in range(num_images):
        picture, outlines = _render(seed, index, image_size)
        file_name = f"{index:06d}.png"
        picture.save(folder / "images" / file_name, compress_level=1)
        size = {"width": image_size, "height": image_size}
        images.append({"id": index + 1, "file_name": file_name, **size})
        for category, points in outlines:
            points = points.round(2)
            lower, extent = points.min(axis=0), np.ptp(points, axis=0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": category + 1,
                    "bbox": [round(float(v), 2) for v in (*lower, *extent)],
                    "area": round(_polygon_area(points), 2),
                    "iscrowd": 0,
                    "segmentation": [[float(v) for v in points.reshape(-1)]],
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(SHAPE_CLASSES)]
    info = {"description": f"multi-scale shapes, version {_VERSION}, seed {seed}"}
    content = {
        "info": info,
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / "annotations.json").write_text(json.dumps(content))


def shapes_folder(
    root: str | Path, split: str, num_images: int, image_size: int, seed: int
) -> Path:
    """The folder of one split under ``root``; its name holds everything that determines it."""
    name = f"{split}-{num_images}x{image_size}px-seed{seed}-v{_VERSION}"
    return Path(root).expanduser() / name


def ensure_shapes(folder: str | Path, num_images: int, image_size: int, seed: int) -> Path:
    """Generate a shapes data set into ``folder`` unless it is there already.

    The data set is written beside ``folder`` and renamed when it is whole, so a killed run leaves
    no half data set, and several processes may ask at once.

    Returns:
        ``folder``, which holds ``annotations.json`` and ``images/``.

    Raises:
        DataError: if the folder cannot be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    logger.info("Generating %d images of shapes into %s.", num_images, folder)
    try:
        _generate_aside(folder, num_images, image_size, seed)
    except OSError as error:
        raise DataError(
            f"The shapes cannot be written to {folder}: {error.strerror}; choose another folder "
            "with DATASETS.SYNTHETIC.ROOT."
        ) from error
    return folder


def _generate_aside(folder: Path, num_images: int, image_size: int, seed: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".partial-{folder.name}-"
    for leftover in folder.parent.glob(f"{prefix}*"):
        if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        generate_shapes(partial, num_images, image_size, seed)
        partial.chmod(0o755)
        try:
            os.rename(partial, folder)
        except OSError:
            # Another process was first; its data set has the same bytes.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
