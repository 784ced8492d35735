"""Time and memory of the match report on random boxes of COCO's size.

    python benchmarks/matches.py [--config-file C] [--images 5000] [--threads 2]

Prints the seconds for all images, the rate, and the peak resident memory before and after.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from detectron2.structures import BoxMode
from tqdm import tqdm

from scb_d2.analysis.matches_collect import collect_matches
from scb_d2.analysis.matches_geometry import AnchorGeometry
from scb_d2.analysis.matches_input import fixed_input
from scb_d2.analysis.matches_setup import load_setup

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


def peak_mib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default="COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    setup = load_setup(args.config_file, [])
    rule = fixed_input(setup.augmentations, object_aware=setup.object_aware)
    geometry = AnchorGeometry(setup.model)
    before = peak_mib()
    marks = [0.0]

    def watch(image) -> None:
        if image.image_id == args.images // 5:
            marks[0] = peak_mib()

    wall, cpu = time.perf_counter(), time.process_time()
    tally = collect_matches(
        tqdm(random_images(args.images), total=args.images, desc="matching"),
        geometry,
        rule,
        ["object"],
        on_image=watch,
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{args.config_file}: {rule.description}")
    print(f"{tally.num_images} images, {tally.num_objects} objects, {args.threads} threads")
    print(f"{wall:.0f} s wall, {cpu:.0f} s CPU, {1000 * wall / tally.num_images:.1f} ms per image")
    print(
        f"peak memory {before:.0f} MiB with the model built, {marks[0]:.0f} MiB after a fifth of "
        f"the images, {peak_mib():.0f} MiB after all"
    )


if __name__ == "__main__":
    main()
