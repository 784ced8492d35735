"""Time and memory of the match report on random boxes of COCO's size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from scb_d2.matches.anchors import AnchorGeometry, ImageAnchors
from scb_d2.matches.collect import collect_matches, match_image
from scb_d2.matches.network_input import InputRule, fixed_input
from scb_d2.matches.setup import load_setup

from .harness import Ratio, compare, from_pairs, seconds

# Mean objects per image of COCO, and its usual photograph sizes (height, width).
_MEAN_OBJECTS = 7.3
_SIZES = ((480, 640), (640, 480), (427, 640), (640, 427), (500, 375), (612, 612), (333, 500))


def random_images(count: int, seed: int = 0):
    """Yield records of Detectron2's format, log-uniform sizes from 8 px to half the image."""
    rng = np.random.default_rng(seed)
    for image_id in range(count):
        height, width = _SIZES[rng.integers(len(_SIZES))]
        annotations = []
        for _ in range(rng.poisson(_MEAN_OBJECTS)):
            side = np.exp(rng.uniform(np.log(8), np.log(min(height, width) / 2)))
            ratio = np.exp(rng.normal(0, 0.4))
            w, h = side * ratio, side / ratio
            x, y = rng.uniform(0, width - min(w, width)), rng.uniform(0, height - min(h, height))
            box = [float(x), float(y), float(min(x + w, width)), float(min(y + h, height))]
            annotations.append({"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0})
        yield {
            "image_id": image_id,
            "height": height,
            "width": width,
            "annotations": annotations,
        }


def resident_mib() -> float:
    """Resident memory of this process now: its peak may be that of an earlier measure (Linux)."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """Counting against eight minutes for COCO; memory at the end against earlier."""
    if device != "cpu":
        return
    images = 20 if quick else 2000
    setup = load_setup("COCO-Detection/retinanet_R_50_FPN_1x.yaml", [])
    rule = fixed_input(setup.augmentations, object_aware=setup.object_aware)
    marks: list[float] = []

    def watch(image: Any) -> None:
        if image.image_id in (images // 5, images - 1):
            marks.append(resident_mib())

    def collect() -> None:
        geometry = AnchorGeometry(setup.model)
        collect_matches(random_images(images), geometry, rule, ["object"], on_image=watch)

    name = f"match counts of {images} images of COCO's size, RetinaNet"
    allowed = 480 * images / 118_000  # of one process
    busy = time.process_time()
    spent = seconds(collect)
    busy = time.process_time() - busy
    label = f"{allowed:.3g} s, its part of 8 minutes for 118,000"
    yield from_pairs(f"{name}, time of the processor / {label}", [(busy, allowed)], "s", 1.0)
    yield from_pairs(f"{name}, time on the clock / {label}", [(spent, allowed)], "s")
    early, late = marks
    yield from_pairs(f"{name}, memory / after a fifth", [(late, early)], "MiB", target=1.05)
    few = list(random_images(20))
    near, whole = (
        partial(_match_all, few, kind(setup.model), rule)
        for kind in (AnchorGeometry, _WithoutGrids)
    )
    name = "match counts of 20 such images / over all anchors"
    yield compare(name, near, whole, pairs=2 if quick else 9)


class _WithoutGrids(AnchorGeometry):
    """Looks at all anchors, as where they form no grids."""

    def anchors(self, image_size: tuple[int, int]) -> ImageAnchors:
        return super().anchors(image_size)._replace(grids=None)


def _match_all(records: list[dict[str, Any]], geometry: AnchorGeometry, rule: InputRule) -> None:
    for record in records:
        match_image(record, geometry, rule, "input")
