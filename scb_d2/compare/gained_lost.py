"""Objects that one arm finds and the other misses, by size and by match count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scb_d2.data.reader.coco import read_json
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.errors import DataError
from scb_d2.evaluation.recall import RunTables

from .operating_point import OperatingPoint

__all__ = ["changes", "load_match_counts", "lowest_scores", "most_changed"]

Array = NDArray[Any]

# Upper limits of the bins of M, the anchors that an object matches.
_COUNT_LIMITS = (0, 1, 2, 5, 10)
_COUNT_NAMES = ("0", "1", "2", "3-5", "6-10", ">10")


def lowest_scores(
    point: OperatingPoint, pairs: Sequence[tuple[RunTables, RunTables]], num_images: int
) -> Array:
    """From which score on detections are kept, for each size by itself.

    Returns:
        (k, 2, bins) float64, for the baseline and the candidate of each seed pair.
    """
    ones = np.ones(num_images, dtype=np.int64)
    rows = []
    for pair in pairs:
        curves = [run.recall.curve(ones) for run in pair]
        sizes = range(1, curves[0].table.num_bins + 1)
        rows.append([[point.lowest_score(n, curve, curves[0]) for n in sizes] for curve in curves])
    return np.array(rows, dtype=np.float64)


def changes(
    ground_truth: GroundTruth,
    sizes: Array,
    size_names: Sequence[str],
    found: Array,
    match_counts: Array | None = None,
) -> dict[str, Any]:
    """Count gained and lost objects.

    Args:
        ground_truth: G objects.
        sizes: (G,) size bin of every object.
        size_names: names of the bins.
        found: (k, 2, G) bool, whether the baseline and the candidate of each seed pair find it.
        match_counts: (G,) M of every object, NaN where unknown.

    Returns:
        `by_size` and, with match counts, `by_match_count`: rows with the number of `objects`, the
        means over the seed pairs of `gained`, `lost`, `net`, `found_by_both` and `found_by_none`,
        and `net_by_pair`.
    """
    real = ~ground_truth.ignored

    def row(members: Array) -> dict[str, Any]:
        part = found[:, :, members & real]
        base, cand = part[:, 0], part[:, 1]
        gained, lost = (cand & ~base).sum(1), (base & ~cand).sum(1)
        return {
            "objects": int((members & real).sum()),
            "gained": float(gained.mean()),
            "lost": float(lost.mean()),
            "net": float((gained - lost).mean()),
            "found_by_both": float((base & cand).sum(1).mean()),
            "found_by_none": float((~base & ~cand).sum(1).mean()),
            "net_by_pair": (gained - lost).tolist(),
        }

    everything = np.ones(len(ground_truth), dtype=bool)
    table = {"by_size": {"all": row(everything)}}
    table["by_size"] |= {name: row(sizes == n) for n, name in enumerate(size_names)}
    if match_counts is not None:
        known = ~np.isnan(match_counts)
        bins = np.searchsorted(_COUNT_LIMITS, match_counts, side="left")
        table["by_match_count"] = {
            name: row(known & (bins == n)) for n, name in enumerate(_COUNT_NAMES)
        }
        if not known.all():
            table["by_match_count"]["unknown"] = row(~known)
    return table


def most_changed(ground_truth: GroundTruth, found: Array, limit: int) -> list[tuple[int, int]]:
    """Images with the most gained and lost objects, and the seed pair that shows it best.

    Args:
        ground_truth: G objects.
        found: (k, 2, G) bool.
        limit: most images.

    Returns:
        (image index, seed pair index), the most changed first; images without change are left out.
    """
    changed = (found[:, 0] != found[:, 1]) & ~ground_truth.ignored
    counts = np.stack(
        [np.bincount(ground_truth.image[row], minlength=ground_truth.num_images) for row in changed]
    )
    total = counts.sum(0)
    order = [n for n in np.argsort(-total, kind="stable") if total[n] > 0][:limit]
    return [(int(n), int(counts[:, n].argmax())) for n in order]


def load_match_counts(source: str | Path | Mapping[str, int], ground_truth: GroundTruth) -> Array:
    """M of every object, from the file that `scb-d2 matches --per-object` writes.

    Args:
        source: path of a JSON object of annotation id to M, or its content.
        ground_truth: the objects.

    Returns:
        (G,) float64, NaN for objects that the file lacks.

    Raises:
        DataError: the file is no such object, or has none of the annotations.
    """
    content = source if isinstance(source, Mapping) else read_json(source)
    name = "match counts" if isinstance(source, Mapping) else str(source)
    if not isinstance(content, Mapping):
        raise DataError(f"{name}: must be a JSON object of annotation id to match count.")
    counts = np.full(len(ground_truth), np.nan)
    for number, object_id in enumerate(ground_truth.object_ids):
        value = content.get(str(object_id))
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DataError(
                f"{name}: annotation {object_id} has the match count {value!r}; a whole number "
                ">= 0 is needed."
            )
        counts[number] = value
    if len(counts) and np.isnan(counts).all():
        raise DataError(f"{name}: has none of the annotation ids of the evaluated data set.")
    return counts
