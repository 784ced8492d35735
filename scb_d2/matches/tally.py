"""Running counts of a match report: what is kept of each image once it has been matched."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scb_d2.utils.size_groups import SIZE_NAMES

__all__ = ["IOU_BINS", "ImageMatches", "MatchTally"]

IOU_BINS = 20
_RESERVOIR = 500


@dataclass(frozen=True)
class ImageMatches:
    """Matches of one image with G objects and L feature levels.

    Attributes:
        image_id: of the data set.
        file_name: path of the image, which may not exist.
        annotation_ids: G ids, None where the data set has none.
        classes: (G,) class index.
        native_boxes: (G, 4) XYXY, native pixels; of a detector of rotated boxes (G, 5), centre x,
            y, width, height, angle in degrees.
        input_boxes: the same in network-input pixels.
        input_size: (height, width) of the network input before padding.
        sizes: (G,) index into ``scb_d2.utils.size_groups.SIZE_NAMES``.
        counts: (G,) M of each object.
        level_counts: (G, L) its matches at each level; rows sum to M.
        best_ious: (G,) best IoU with any anchor.
        left_out: number of annotations that training leaves out.
        all_positive: whether every anchor of the image is positive.
    """

    image_id: Any
    file_name: str
    annotation_ids: list[Any]
    classes: np.ndarray
    native_boxes: np.ndarray
    input_boxes: np.ndarray
    input_size: tuple[int, int]
    sizes: np.ndarray
    counts: np.ndarray
    level_counts: np.ndarray
    best_ious: np.ndarray
    left_out: int
    all_positive: bool


@dataclass
class MatchTally:
    """Counts over images; all of bounded size.

    Attributes:
        class_names: K names.
        threshold: IoU from which an anchor is positive; None where the matcher decides otherwise
            (FCOS, ATSS): an object is then covered by any match.
        max_listed: most entries of each list.
        max_samples: most images in ``samples``.
        seed: of the random sample ``uncovered_sample``.
        num_images: images seen.
        empty_images: images without objects.
        left_out: crowd annotations and boxes without area.
        all_positive_images: images of which every anchor is positive.
        by_size: objects per (size index, M).
        by_class: objects per (class index, M).
        by_level: objects per (level index, matches at that level).
        level_matches: matches per (level index, size index).
        iou_histogram: (sizes, IOU_BINS) objects by best IoU, bins of equal width over [0, 1].
        covered: (sizes,) objects whose best IoU reaches the threshold, or that have a match.
        no_overlap: (sizes,) objects whose best IoU is 0.
        unmatched_objects: the first objects with M = 0.
        no_overlap_objects: the first objects whose best IoU is 0.
        num_uncovered: the other objects.
        uncovered_sample: uniform sample of them: (input box, input size).
    """

    class_names: list[str]
    threshold: float | None
    max_listed: int = 1000
    max_samples: int = 6
    seed: int = 0
    num_images: int = 0
    empty_images: int = 0
    left_out: int = 0
    all_positive_images: int = 0
    by_size: Counter[tuple[int, int]] = field(default_factory=Counter)
    by_class: Counter[tuple[int, int]] = field(default_factory=Counter)
    by_level: Counter[tuple[int, int]] = field(default_factory=Counter)
    level_matches: Counter[tuple[int, int]] = field(default_factory=Counter)
    iou_histogram: np.ndarray = field(
        default_factory=lambda: np.zeros((len(SIZE_NAMES), IOU_BINS), dtype=np.int64)
    )
    covered: np.ndarray = field(default_factory=lambda: np.zeros(len(SIZE_NAMES), dtype=np.int64))
    no_overlap: np.ndarray = field(
        default_factory=lambda: np.zeros(len(SIZE_NAMES), dtype=np.int64)
    )
    unmatched_objects: list[dict[str, Any]] = field(default_factory=list)
    no_overlap_objects: list[dict[str, Any]] = field(default_factory=list)
    num_uncovered: int = 0
    uncovered_sample: list[tuple[np.ndarray, tuple[int, int]]] = field(default_factory=list)
    _samples: list[tuple[int, int, ImageMatches]] = field(default_factory=list)
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    @property
    def num_objects(self) -> int:
        """Objects counted."""
        return sum(self.by_size.values())

    @property
    def samples(self) -> list[ImageMatches]:
        """Images to draw: those with the most unmatched or uncovered objects, worst first."""
        ordered = sorted(self._samples, key=lambda item: item[:2], reverse=True)
        return [item[2] for item in ordered]

    def add(self, image: ImageMatches) -> None:
        """Count one image."""
        self.num_images += 1
        self.left_out += image.left_out
        if len(image.counts) == 0:
            self.empty_images += 1
            return
        self.all_positive_images += image.all_positive
        self.by_size.update(zip(image.sizes.tolist(), image.counts.tolist(), strict=True))
        self.by_class.update(zip(image.classes.tolist(), image.counts.tolist(), strict=True))
        for level, counts in enumerate(image.level_counts.T):
            self.by_level.update((level, count) for count in counts.tolist())
            for size, count in zip(image.sizes.tolist(), counts.tolist(), strict=True):
                self.level_matches[level, size] += count
        matched, apart = image.counts > 0, image.best_ious == 0
        covered = matched if self.threshold is None else image.best_ious >= self.threshold
        bins = (image.best_ious * IOU_BINS).astype(np.int64).clip(max=IOU_BINS - 1)
        np.add.at(self.iou_histogram, (image.sizes, bins), 1)
        np.add.at(self.covered, image.sizes, covered)
        np.add.at(self.no_overlap, image.sizes, apart)
        self._list(self.unmatched_objects, image, image.counts == 0)
        self._list(self.no_overlap_objects, image, apart)
        self._sample_uncovered(image, np.flatnonzero(~covered))
        self._keep_worst(image, int(((image.counts == 0) | ~covered).sum()))

    def _list(self, objects: list[dict[str, Any]], image: ImageMatches, mask: np.ndarray) -> None:
        kind = "xywha" if image.native_boxes.shape[1] == 5 else "xyxy"
        for i in np.flatnonzero(mask)[: self.max_listed - len(objects)]:
            objects.append(
                {
                    "image_id": image.image_id,
                    "file_name": image.file_name,
                    "annotation_id": image.annotation_ids[i],
                    "class": self.class_names[image.classes[i]],
                    "size": SIZE_NAMES[image.sizes[i]],
                    f"bbox_{kind}_native": [round(float(x), 2) for x in image.native_boxes[i]],
                    f"bbox_{kind}_input": [round(float(x), 2) for x in image.input_boxes[i]],
                    "best_iou": round(float(image.best_ious[i]), 4),
                    "matches": int(image.counts[i]),
                }
            )

    def _sample_uncovered(self, image: ImageMatches, indices: np.ndarray) -> None:
        """Reservoir sampling: each uncovered object is kept with the same probability."""
        for i in indices:
            item = (image.input_boxes[i], image.input_size)
            if self.num_uncovered < _RESERVOIR:
                self.uncovered_sample.append(item)
            elif (slot := int(self._rng.integers(self.num_uncovered + 1))) < _RESERVOIR:
                self.uncovered_sample[slot] = item
            self.num_uncovered += 1

    def _keep_worst(self, image: ImageMatches, badness: int) -> None:
        # The running number breaks ties towards earlier images and keeps images uncompared.
        item = (badness, -self.num_images, image)
        if len(self._samples) < self.max_samples:
            heapq.heappush(self._samples, item)
        elif self.max_samples:
            heapq.heappushpop(self._samples, item)
