"""What findings look at, counted once: every object as the network sees it, and its matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from scb_d2.errors import ConfigError
from scb_d2.matches.anchors import AnchorGeometry, positive_threshold
from scb_d2.matches.collect import collect_matches
from scb_d2.matches.network_input import FixedInput, fixed_input, native_boxes
from scb_d2.matches.setup import MatchSetup
from scb_d2.matches.tally import ImageMatches
from scb_d2.utils.size_groups import SIZE_NAMES

__all__ = [
    "DataCounts",
    "MatchCounts",
    "check_upright",
    "count_data",
    "count_matches",
    "find_geometry",
    "input_rule",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class DataCounts:
    """Objects of a data set at the network's input, in columns; crowd and empty boxes left out.

    Attributes:
        num_images: N, images without objects included.
        input_sizes: (N, 2) height and width of the network input.
        native_sizes: (N, 2) height and width of the image.
        image: (G,) index of each object's image.
        category: (G,) class index.
        boxes: (G, 4) XYXY, network-input pixels.
        native_boxes: (G, 4) XYXY, native pixels.
        class_names: K names.
    """

    num_images: int
    input_sizes: Array
    native_sizes: Array
    image: Array
    category: Array
    boxes: Array
    native_boxes: Array
    class_names: tuple[str, ...]

    @property
    def edges(self) -> Array:
        """(G,) square root of each object's area, network-input pixels."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return np.sqrt(sides.prod(axis=1))

    @property
    def per_image(self) -> Array:
        """(N,) objects of each image."""
        return np.bincount(self.image, minlength=self.num_images)

    @property
    def scale(self) -> float:
        """Network-input pixels per native pixel along an edge, the median of the images."""
        return float(np.median(self.input_sizes[:, 0] / self.native_sizes[:, 0]))

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class MatchCounts:
    """Matches of the objects of some images, in columns.

    Attributes:
        threshold: IoU from which an anchor is positive; None where another rule decides.
        sizes: (G,) index into ``scb_d2.utils.size_groups.SIZE_NAMES``, network-input pixels.
        matches: (G,) M.
        best_ious: (G,) best IoU with any anchor.
        boxes: (G, 4) XYXY, network-input pixels.
        input_sizes: (G, 2) height and width of each object's network input.
        level_positives: (N, L) positive anchors of each image at each level.
        anchors_per_image: of the median input.
    """

    threshold: float | None
    sizes: Array
    matches: Array
    best_ious: Array
    boxes: Array
    input_sizes: Array
    level_positives: Array
    anchors_per_image: int

    @property
    def positives(self) -> Array:
        """(N,) positive anchors of each image."""
        return self.level_positives.sum(axis=1)

    @property
    def by_size(self) -> dict[tuple[int, int], int]:
        """Objects per (size index, M)."""
        keys, counts = np.unique(
            np.stack([self.sizes, self.matches], axis=1), axis=0, return_counts=True
        )
        return {(int(s), int(m)): int(n) for (s, m), n in zip(keys, counts, strict=True)}

    def recall(self, sizes: Array | None = None) -> dict[str, float]:
        """Share of objects that reach the threshold, or match anything; of all and by size.

        Args:
            sizes: (G,) groups to count by in place of this input's own.
        """
        reached = self.matches > 0
        if self.threshold is not None:
            reached = self.best_ious >= self.threshold
        return {"all": _mean(reached)} | self._by_group(reached, sizes)

    def mean_matches(self, sizes: Array | None = None) -> dict[str, float]:
        """Mean M by size; NaN without objects."""
        return self._by_group(self.matches, sizes)

    def _by_group(self, values: Array, sizes: Array | None) -> dict[str, float]:
        sizes = self.sizes if sizes is None else sizes
        return {name: _mean(values[sizes == i]) for i, name in enumerate(SIZE_NAMES)}


def find_geometry(setup: MatchSetup) -> AnchorGeometry | None:
    """Anchors or points of a detector of upright boxes; None where it matches none."""
    try:
        return AnchorGeometry(setup.model)
    except ConfigError:
        return None


def check_upright(model: nn.Module) -> None:
    """Refuse detectors of rotated boxes, whose boxes would be taken for upright ones.

    Raises:
        ConfigError: naming the command that covers them.
    """
    owner = getattr(model, "proposal_generator", None) or model
    if getattr(getattr(owner, "anchor_generator", None), "box_dim", 4) == 5:
        raise ConfigError(
            f"scb-d2 advise does not cover rotated boxes, which {type(owner).__name__} matches; "
            "scb-d2 matches counts them."
        )


def _threshold_of(geometry: AnchorGeometry) -> float | None:
    """IoU from which an anchor is positive; None where another rule decides."""
    try:
        return positive_threshold(geometry.matcher)
    except ConfigError:
        return None


def input_rule(setup: MatchSetup) -> FixedInput:
    """The training resize at the middle of its sizes."""
    return fixed_input(setup.augmentations, "middle", setup.object_aware)


def count_data(
    records: Sequence[dict[str, Any]], setup: MatchSetup, class_names: Sequence[str]
) -> DataCounts:
    """Objects of all records at the network's input; no image is opened.

    Args:
        records: in Detectron2's data set format.
        setup: of the config.
        class_names: K names.
    """
    rule = input_rule(setup)
    image, category, boxes, native, input_sizes, native_sizes = [], [], [], [], [], []
    for number, record in enumerate(records):
        found = rule(record)
        kept = [record["annotations"][i] for i in found.kept]
        image += [number] * len(kept)
        category += [annotation["category_id"] for annotation in kept]
        boxes.append(found.boxes)
        native.append(native_boxes(kept))
        input_sizes.append(found.size)
        native_sizes.append((int(record["height"]), int(record["width"])))
    return DataCounts(
        num_images=len(records),
        input_sizes=np.array(input_sizes),
        native_sizes=np.array(native_sizes),
        image=np.array(image, dtype=np.int64),
        category=np.array(category, dtype=np.int64),
        boxes=np.concatenate(boxes),
        native_boxes=np.concatenate(native),
        class_names=tuple(class_names),
    )


def count_matches(
    records: Sequence[dict[str, Any]],
    setup: MatchSetup,
    geometry: AnchorGeometry,
    *,
    what: str,
    progress: bool = True,
) -> MatchCounts:
    """Match the objects of some records with a detector's own anchors and matcher.

    Args:
        records: in Detectron2's data set format, at least one with an object.
        setup: of the config.
        geometry: of its detector.
        what: what is counted, for the progress bar.
        progress: whether to show it, on stderr.
    """
    columns, sizes, levels = [], [], []

    def keep(image: ImageMatches) -> None:
        columns.append((image.sizes, image.counts, image.best_ious, image.input_boxes))
        sizes.append(np.tile(image.input_size, (len(image.counts), 1)))
        levels.append(image.level_counts.sum(axis=0))

    bar = tqdm(records, desc=what, unit="image", disable=not progress, mininterval=0.5)
    names = [""] * (1 + max(a["category_id"] for r in records for a in r["annotations"]))
    rule = input_rule(setup)
    collect_matches(bar, geometry, rule, names, max_listed=0, max_samples=0, on_image=keep)
    group, matches, best_ious, boxes = (np.concatenate(c) for c in zip(*columns, strict=True))
    input_sizes = np.concatenate(sizes)
    middle = input_sizes[np.argsort(input_sizes.prod(axis=1))[len(input_sizes) // 2]]
    return MatchCounts(
        threshold=_threshold_of(geometry),
        sizes=group,
        matches=matches,
        best_ious=best_ious,
        boxes=boxes,
        input_sizes=input_sizes,
        level_positives=np.array(levels),
        anchors_per_image=len(geometry.anchors(tuple(int(x) for x in middle)).boxes),
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")
