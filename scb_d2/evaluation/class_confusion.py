"""What is found of each class at one score, and which classes are taken for which.

Naming convention: K classes, G objects, D detections.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from scb_d2.data.reader.detections import Detections
from scb_d2.data.reader.ground_truth import GroundTruth
from scb_d2.errors import ConfigError

from .detection_matching import greedy_match, match_by_score
from .pairs import find_pairs

__all__ = ["ClassConfusion", "class_markdown", "confuse_classes"]

Array = NDArray[Any]

_WHOLE_MATRIX = 12
_MOST_PAIRS = 20


@dataclass(frozen=True)
class ClassConfusion:
    """Counts by class of the detections whose score is not below a threshold.

    Attributes:
        class_names: K names; the category's id stands behind one that several have.
        threshold: score.
        iou: lowest IoU of a match.
        num_images: N.
        matrix: (K + 1, K + 1) int64. Row: class of the object, the last one for detections without
            an object. Column: class of the detection, the last one for objects that are missed.
            The diagonal counts what is found; the last entry is 0.
    """

    class_names: tuple[str, ...]
    threshold: float
    iou: float
    num_images: int
    matrix: Array

    @property
    def objects(self) -> Array:
        """(K,) objects, crowd and difficult ones left out."""
        return self.matrix[:-1].sum(axis=1)

    @property
    def found(self) -> Array:
        """(K,) objects that a detection of their class finds."""
        return np.diagonal(self.matrix)[:-1]

    @property
    def false_positives(self) -> Array:
        """(K,) detections of a class that find no object of it."""
        return self.matrix[:, :-1].sum(axis=0) - self.found

    def to_json(self) -> dict[str, Any]:
        """Every number; percent, NaN where a class has no objects or no detections."""
        return {
            "threshold": self.threshold,
            "iou": self.iou,
            "classes": {name: self._row(k) for k, name in enumerate(self.class_names)},
            "confusion": {
                "rows": [*self.class_names, "no object"],
                "columns": [*self.class_names, "missed"],
                "matrix": self.matrix.tolist(),
            },
        }

    def confused(self) -> list[tuple[str, str, int]]:
        """(class of the object, class of the detection, number), the most frequent first."""
        between = self.matrix[:-1, :-1] * (1 - np.eye(len(self.class_names), dtype=np.int64))
        rows, columns = np.nonzero(between)
        order = np.argsort(-between[rows, columns], kind="stable")
        return [
            (
                self.class_names[rows[i]],
                self.class_names[columns[i]],
                int(between[rows[i], columns[i]]),
            )
            for i in order
        ]

    def _row(self, k: int) -> dict[str, Any]:
        objects, found = int(self.objects[k]), int(self.found[k])
        wrong = int(self.false_positives[k])
        return {
            "objects": objects,
            "found": found,
            "recall": 100.0 * found / objects if objects else float("nan"),
            "precision": 100.0 * found / (found + wrong) if found + wrong else float("nan"),
            "false_positives": wrong,
            "fp_per_image": wrong / max(self.num_images, 1),
        }


def confuse_classes(
    ground_truth: GroundTruth,
    detections: Detections,
    *,
    threshold: float = 0.5,
    iou: float = 0.5,
    max_detections: int | None = None,
) -> ClassConfusion:
    """Match within classes, then let what is left over match across them.

    So the diagonal is the recall that :func:`scb_d2.evaluation.recall.evaluate_recall` counts, and
    an object is taken for another class only where no detection of its own class finds it.

    Args:
        ground_truth: G objects.
        detections: D detections.
        threshold: a detection counts where its score is not below.
        iou: lowest IoU of a match, in (0, 1].
        max_detections: most detections per image and class; None: all.

    Raises:
        ConfigError: `iou` or `threshold` is not allowed.
    """
    if not np.isfinite(threshold):
        raise ConfigError(f"score threshold {threshold}: must be a finite number.")
    detections = _rows(detections, detections.scores >= threshold)
    matches = match_by_score(ground_truth, detections, iou=iou, max_detections=max_detections)
    num_classes = ground_truth.num_classes
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)

    found = np.isfinite(matches.object_score) & ~ground_truth.ignored
    np.add.at(matrix, (ground_truth.category[found],) * 2, 1)

    wrong = _rows(detections, matches.outcome == 0)
    missed = _objects(ground_truth, ~found & ~ground_truth.ignored)
    pairs = find_pairs(missed, wrong, min(iou, 1 - 1e-10), per_class=False)
    nothing = np.zeros(len(missed), dtype=bool)
    hit = greedy_match(pairs, [iou], nothing[None], nothing)[0, 0]
    taken = pairs.target[hit]
    truth = np.full(len(wrong), num_classes)
    truth[pairs.order[pairs.detection[hit]]] = missed.category[taken]
    np.add.at(matrix, (truth, wrong.category), 1)

    left = np.ones(len(missed), dtype=bool)
    left[taken] = False
    np.add.at(matrix, (missed.category[left], num_classes), 1)
    return ClassConfusion(
        class_names=_distinct(ground_truth),
        threshold=float(threshold),
        iou=float(iou),
        num_images=ground_truth.num_images,
        matrix=matrix,
    )


def class_markdown(confusion: ClassConfusion) -> str:
    """The table by class, and the confusion: the whole matrix, or of many classes the worst."""
    numbers = confusion.to_json()["classes"]
    rows = [
        [
            name,
            f"{row['recall']:.2f} ({row['found']}/{row['objects']})",
            f"{row['precision']:.2f}",
            row["false_positives"],
            f"{row['fp_per_image']:.3g}",
        ]
        for name, row in numbers.items()
    ]
    headers = ["class", "recall %", "precision %", "false positives", "FP/image"]
    lines = [
        f"## By class, score ≥ {confusion.threshold:g}",
        "",
        _table(rows, headers),
        "",
        "## Confusion of classes",
        "",
    ]
    if len(confusion.class_names) <= _WHOLE_MATRIX:
        names = [*confusion.class_names, "no object"]
        cells = confusion.matrix.tolist()
        headers = ["object / detected as", *confusion.class_names, "missed"]
        lines.append(_table([[n, *row] for n, row in zip(names, cells, strict=True)], headers))
    else:
        pairs = confusion.confused()
        lines.append(_table(pairs[:_MOST_PAIRS], ["object", "detected as", "number"]))
        if len(pairs) > _MOST_PAIRS:
            lines += ["", f"The {_MOST_PAIRS} most frequent of {len(pairs)} pairs."]
    lines += [
        "",
        f"IoU ≥ {confusion.iou:g}, one detection for one object. An object is taken for another "
        "class only where no detection of its own class finds it; crowd and difficult objects are "
        "left out.",
        "",
    ]
    return "\n".join(lines)


def _distinct(ground_truth: GroundTruth) -> tuple[str, ...]:
    names = ground_truth.category_names
    return tuple(
        f"{name} ({category_id})" if names.count(name) > 1 else name
        for name, category_id in zip(names, ground_truth.category_ids, strict=True)
    )


def _rows(detections: Detections, mask: Array) -> Detections:
    return Detections(
        image=detections.image[mask],
        category=detections.category[mask],
        boxes=detections.boxes[mask],
        scores=detections.scores[mask],
    )


def _objects(ground_truth: GroundTruth, mask: Array) -> GroundTruth:
    columns = ("object_ids", "image", "category", "boxes", "area", "crowd", "difficult")
    return replace(ground_truth, **{name: getattr(ground_truth, name)[mask] for name in columns})


def _table(rows: list[Any], headers: list[str]) -> str:
    """A table in Markdown, in which neither a bar nor a line's end in a name ends a cell."""
    cells = [[_cell(value) for value in row] for row in rows]
    names = [_cell(name) for name in headers]
    return tabulate(cells, headers=names, tablefmt="pipe", disable_numparse=True)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
