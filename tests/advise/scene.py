"""A situation made by hand: settings as a dictionary, objects as boxes, matches as numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from scb_d2.advise.finding import Change, Setting
from scb_d2.advise.measure import DataCounts, MatchCounts
from scb_d2.advise.situation import Matched, Situation
from scb_d2.utils.size_groups import size_index


class Settings:
    """Settings whose keys are their names in capitals."""

    def __init__(self, kind: str = "retinanet", **values: Any):
        self.kind, self.values = kind, {"scb_enabled": False, **values}

    def find(self, name: str) -> Setting | None:
        return Setting(name.upper(), self.values[name]) if name in self.values else None

    def frozen_norms(self) -> list[str]:
        return ["NORM"] if self.values.get("norm") == "FrozenBN" else []

    def enable_scb(self, reason: str, low_quality: str | None = None) -> tuple[Change, ...]:
        changes = (Change("MODEL.SCB.ENABLED", True, reason),)
        if low_quality:
            changes += (Change("MODEL.SCB.LOW_QUALITY", low_quality, ""),)
        return changes


def data(*images: list[Any], classes: int = 2, native: float = 1.0) -> DataCounts:
    """Counts of images of 100 x 100 px, each a list of (x0, y0, x1, y1) or (box, class)."""
    rows = [(n, *(o if len(o) == 2 else (o, 0))) for n, image in enumerate(images) for o in image]
    boxes = np.array([box for _, box, _ in rows], dtype=np.float64).reshape(-1, 4)
    sizes = np.full((len(images), 2), 100.0)
    return DataCounts(
        num_images=len(images),
        input_sizes=sizes,
        native_sizes=sizes * native,
        image=np.array([n for n, _, _ in rows], dtype=np.int64),
        category=np.array([k for _, _, k in rows], dtype=np.int64),
        boxes=boxes,
        native_boxes=boxes * native,
        class_names=tuple(f"class {k}" for k in range(classes)),
    )


def matched(
    edges: list[float],
    matches: list[int],
    best_iou: float = 1.0,
    low_quality: str = "stock",
    **more,
) -> Matched:
    """Objects of some edge lengths and their M."""
    edges = np.array(edges, dtype=np.float64)
    counts = MatchCounts(
        threshold=0.5,
        sizes=size_index(torch.as_tensor(edges**2)).numpy(),
        matches=np.array(matches),
        best_ious=np.full(len(edges), best_iou),
        boxes=np.zeros((len(edges), 4)),
        input_sizes=np.full((len(edges), 2), 100),
        level_positives=np.array(more.get("level_positives", [[0]])),
        anchors_per_image=100,
    )
    matcher = SimpleNamespace(allow_low_quality_matches=True, low_quality=low_quality)
    return Matched(counts, SimpleNamespace(matcher=matcher, anchor_generator=None))


def situation(
    counts: DataCounts, settings: Settings, now: Matched | None = None, then: Matched | None = None
) -> Situation:
    """What findings look at; every change of the config gives `then`."""
    return Situation(
        config_file="config.yaml",
        opts=(),
        settings=settings,
        setup=SimpleNamespace(form="information", alpha=1.0, beta=3.0),
        data=counts,
        dataset_names=("train",),
        matched=now,
        num_sampled=counts.num_images,
        match_again=lambda changes, what: then or now,
    )


def squares(number: int, edge: float = 20.0, gap: float = 40.0) -> list[tuple[float, ...]]:
    """Squares that lie apart, in a row."""
    return [(i * gap, 0, i * gap + edge, edge) for i in range(number)]


def values(finding):
    return {change.key: change.value for change in finding.changes}


def only(findings):
    assert len(findings) == 1, [f.code for f in findings]
    return findings[0]
