"""Anchors fitted to objects: against anchors that are really made, and under their constraints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import given, settings
from hypothesis import strategies as st

from scb_d2.advise.anchor_fit.coverage import Coverage, Level
from scb_d2.advise.anchor_fit.layouts import fit_ssd, fit_uniform

LEVELS = [Level(0.0, 8.0), Level(0.0, 16.0)]
CELLS = [(12, 9), (6, 5)]


def coverage(boxes, threshold=0.5, levels=LEVELS, cells=CELLS):
    boxes = np.array(boxes, dtype=np.float64)
    return Coverage(boxes, levels, np.tile(cells, (len(boxes), 1, 1)), threshold)


def real_ious(boxes, sizes, ratios):
    """IoU of every box with every anchor that Detectron2 makes."""
    generator = DefaultAnchorGenerator(
        sizes=sizes, aspect_ratios=[ratios], strides=[8, 16], offset=0.0
    )
    maps = [torch.zeros(1, 1, rows, columns) for columns, rows in CELLS]
    anchors = Boxes.cat(generator(maps))
    return pairwise_iou(Boxes(torch.as_tensor(boxes, dtype=torch.float32)), anchors).numpy()


def random_boxes(seed, number=40):
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(-5, 80, (number, 2)), np.exp(rng.uniform(1.5, 4, (number, 2)))
    return np.concatenate([corners, corners + sides], axis=1)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.floats(6, 60),
    ratio=st.sampled_from([0.4, 1.0, 2.0]),
    threshold=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_best_iou_and_matches_are_those_of_real_anchors(seed, size, ratio, threshold):
    boxes = random_boxes(seed)
    both = real_ious(boxes, [[size], [size]], [ratio])
    shape = (size / math.sqrt(ratio), size * math.sqrt(ratio))
    found = coverage(boxes, threshold)
    fine = CELLS[0][0] * CELLS[0][1]
    for level, ious in enumerate((both[:, :fine], both[:, fine:])):
        np.testing.assert_allclose(found.best_iou(level, shape), ious.max(axis=1), atol=1e-5)
        reached, counts = found.matches(level, shape)
        clear = (np.abs(ious - threshold) > 1e-5).all(axis=1)  # float32 against float64
        assert (counts[clear] == (ious >= threshold).sum(axis=1)[clear]).all()
        assert ((counts > 0) == reached).all()


def test_anchors_move_to_where_the_objects_are():
    """20 px on every cell: sizes of 64 and 128 reach none, some size below all."""
    boxes = [(x - 10, y - 10, x + 10, y + 10) for x in range(16, 80, 8) for y in range(16, 64, 8)]
    before = real_ious(np.array(boxes), [[64], [128]], [1.0]).max(axis=1)
    sizes, ratios = fit_uniform(coverage(boxes), [[64.0], [128.0]], [1.0])
    after = real_ious(np.array(boxes), sizes, ratios).max(axis=1)
    assert (before < 0.5).all() and (after >= 0.5).all()
    assert [len(level) for level in sizes] == [1, 1] and len(ratios) == 1


@pytest.mark.parametrize("seed", range(4))
def test_never_more_anchors_and_never_fewer_objects(seed):
    boxes = random_boxes(seed, 60)
    today = [[12.0, 20.0, 30.0], [24.0, 40.0, 60.0]]
    sizes, ratios = fit_uniform(coverage(boxes), today, [0.5, 1.0, 2.0])
    assert len(sizes[0]) == len(sizes[1]) and len(sizes[0]) * len(ratios) <= 9
    assert all(level == sorted(set(level)) for level in sizes)
    reached = (real_ious(boxes, sizes, ratios).max(axis=1) >= 0.5).sum()
    assert reached >= (real_ious(boxes, today, [0.5, 1.0, 2.0]).max(axis=1) >= 0.5).sum()


def test_of_designs_that_reach_all_the_more_even_is_taken():
    """Large objects match far more of the finer level's anchors than small ones: they move up."""
    boxes = [(x - 5, 11, x + 5, 21) for x in (16, 32, 48)]
    boxes += [(x - 24, y - 24, x + 24, y + 24) for x in (32, 48) for y in (32, 48)]
    found = coverage(boxes)
    sizes, _ = fit_uniform(found, [[10.0, 48.0], [200.0, 300.0]], [1.0])
    matches = (real_ious(np.array(boxes), sizes, [1.0]) >= 0.5).sum(axis=1)
    today = (real_ious(np.array(boxes), [[10.0, 48.0], [200.0, 300.0]], [1.0]) >= 0.5).sum(axis=1)
    assert (matches > 0).all()
    assert np.log(matches).std() < np.log(np.maximum(today, 1)).std()


@pytest.mark.parametrize("max_sizes", [[40.0, 90.0], []])
def test_ssd_keeps_its_number_of_anchors_on_each_level(max_sizes):
    boxes = random_boxes(3, 60)
    minima, maxima, ratios = fit_ssd(coverage(boxes), [30.0, 60.0], max_sizes, [[2.0], [2.0, 3.0]])
    assert len(minima) == 2 and len(maxima) == len(max_sizes)
    assert [len(r) for r in ratios] == [1, 2] and all(r > 1 for level in ratios for r in level)
    assert all(big > small for small, big in zip(minima, maxima, strict=False))
