"""How small the objects are where the network sees them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from detectron2.data import transforms as T

from .finding import Change, Finding, Setting
from .measure import DataCounts
from .situation import Matched, Situation

__all__ = ["advise_input_size"]

_ENOUGH = 16.0
_TINY = 8.0
_MOST = 2.0  # along an edge: four times the pixels
_MULTIPLE = 32
_NAMES = ("short_edges_train", "long_edge_train", "short_edge_test", "long_edge_test")


def advise_input_size(situation: Situation) -> tuple[Finding | None, Matched | None]:
    """The input at which the 10th percentile of the objects' sizes is 16 px.

    Returns:
        The finding, None where the objects are large enough, and today's anchors matched at that
        input, None where no key changes it.
    """
    data = situation.data
    edges = data.edges
    low = float(np.percentile(edges, 10))
    if low >= _ENOUGH:
        return None, None
    needed = _ENOUGH / low
    factor = min(needed, _MOST)
    settings = [situation.settings.find(name) for name in _NAMES]
    # 0 is Detectron2's word for the image's own size.
    known = all(settings) and min(*settings[0].value, settings[2].value) > 0
    tiny, small = _shares(edges)
    measured = (
        f"At the network's input ({situation_input(situation)}) the square root of an object's "
        f"area is {low:.1f} px at the 10th percentile; {tiny:.1%} of the {len(data):,} objects "
        f"are below {_TINY:g} px and {small:.1%} below {_ENOUGH:g} px."
    )
    why = (
        "A feature map has one cell for every 4 or 8 px at the finest, and boxes of a few cells "
        "can hardly be told from their neighbours."
    )
    tile = int(round(data.native_sizes.min(axis=1).mean() / needed / _MULTIPLE) * _MULTIPLE)
    action = (
        f"Tiles of {max(tile, _MULTIPLE)} native px at today's input size show the objects "
        f"as large (`scb-d2 tile`, docs/small_objects.md), at {needed**2:.1f} times the pixels."
    )
    if not known:
        finding = Finding(
            code="input_size",
            title=f"Show the objects {needed:.2g} times as large",
            measured=measured,
            why=why,
            expected=f"10th percentile {low:.1f} -> {_ENOUGH:g} px.",
            cost=f"{needed**2:.1f} times the pixels of an image.",
            concerns=small,
            action=_fixed_input(situation) + action,
        )
        return finding, None
    changes = _changes(settings, factor, low)
    after = situation.match_again(changes, "larger input") if situation.matched else None
    new = {change.key: change.value for change in changes}
    times = _times(data, settings, [new.get(s.key, s.value) for s in settings])
    real, edges_then = float(np.median(times)), edges * times[data.image]
    tiny_then, small_then = _shares(edges_then)
    expected = (
        f"10th percentile {low:.1f} -> {np.percentile(edges_then, 10):.1f} px; below "
        f"{_TINY:g} px {tiny:.1%} -> {tiny_then:.1%}, below {_ENOUGH:g} px {small:.1%} -> "
        f"{small_then:.1%}"
    )
    cost = f"{np.mean(times**2):.1f} times the pixels of an image"
    if after is not None:
        before = situation.matched.counts
        expected += (
            f"; best possible recall with today's anchors {before.recall()['all']:.1%} -> "
            f"{after.counts.recall()['all']:.1%}"
        )
        cost += f" and {before.anchors_per_image:,} -> {after.counts.anchors_per_image:,} anchors"
    if data.scale * real > 1:
        cost += (
            f". This is {data.scale * real:.2g} times the images' own size: upscaling adds no "
            "detail, only cells for each object"
        )
    if needed > _MOST:
        action = (
            f"{_ENOUGH:g} px would take {needed:.2g} times the edge, {needed**2:.1f} times the "
            f"pixels; the change goes a step of twice the edge, advice on the advised config "
            f"the next. {action}"
        )
    finding = Finding(
        code="input_size",
        title=f"Enlarge the input by {real:.2g}",
        measured=measured,
        why=why,
        expected=f"{expected}.",
        cost=f"{cost}.",
        concerns=small,
        changes=changes,
        action=action,
    )
    return finding, after


def situation_input(situation: Situation) -> str:
    """The middle input size in words."""
    height, width = np.median(situation.data.input_sizes, axis=0).astype(int)
    return f"{width} x {height} px"


def _changes(settings: list[Setting], factor: float, low: float) -> tuple[Change, ...]:
    reason = f"objects of {low:.1f} px, the 10th percentile, come to {low * factor:.0f} px or more"
    short_train, long_train, short_test, long_test = settings
    short, long = _enlarged(short_train.value, factor), _enlarged(long_train.value, factor)
    # Test images as large as the largest of training; a config that tests larger stays as it is.
    values = [short, long, max(short_test.value, *short), max(long_test.value, long)]
    pairs = [(s, v) for s, v in zip(settings, values, strict=True) if s.value != v]
    return tuple(Change(s.key, v, reason) for s, v in pairs)


def _enlarged(value: int | list[int], factor: float) -> int | list[int]:
    if isinstance(value, list):
        return [_enlarged(item, factor) for item in value]
    return math.ceil(value * factor / _MULTIPLE) * _MULTIPLE


def _times(data: DataCounts, settings: list[Setting], values: list[Any]) -> np.ndarray:
    """(N,) how many times as long the edges of each image's input become."""
    edges = np.empty((2, data.num_images))
    for row, (shorts, longest) in enumerate(([s.value for s in settings[:2]], values[:2])):
        short = sorted(shorts)[len(shorts) // 2]
        for i, (height, width) in enumerate(data.native_sizes.tolist()):
            edges[row, i] = T.ResizeShortestEdge.get_output_shape(height, width, short, longest)[0]
    return edges[1] / edges[0]


def _shares(edges: np.ndarray) -> tuple[float, float]:
    return float((edges < _TINY).mean()), float((edges < _ENOUGH).mean())


def _fixed_input(situation: Situation) -> str:
    if situation.settings.kind == "ssd":
        return (
            "SSD's anchors, steps and layers belong to its input size: take the config of the "
            "larger one (SSD512). "
        )
    return "The config's resize has no key for its size here. "
