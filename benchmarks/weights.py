"""Weights of anchors against a loop over positive anchors, as the authors' code has it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from scb_d2 import ScaleBalancedWeight

from .harness import Ratio, compare, from_pairs, seconds


def loop(matched_idxs: torch.Tensor, anchor_labels: torch.Tensor) -> torch.Tensor:
    """Two passes over the positive anchors, one tensor element at a time."""
    counts: dict[int, int] = {}
    positive = (anchor_labels == 1).nonzero()[:, 0]
    for anchor in positive:
        index = int(matched_idxs[anchor])
        counts[index] = counts.get(index, 0) + 1
    weights = torch.ones(len(matched_idxs), device=matched_idxs.device)
    for anchor in positive:
        count = counts[int(matched_idxs[anchor])]
        weights[anchor] = 3 * (math.log(count) + 1) / count
    return weights


def measure(device: str, quick: bool) -> Iterator[Ratio]:
    """5,000 positives among gathered anchors, and all anchors of an image."""
    weigh = ScaleBalancedWeight()
    gt_boxes = torch.zeros(300, 4, device=device)
    random = torch.Generator().manual_seed(0)
    positives = 500 if quick else 5000
    idxs = torch.randint(0, 300, (positives,), generator=random).to(device)
    labels = torch.ones(positives, dtype=torch.int8, device=device)
    # The first call after other work finds the processor's caches cold; no target speaks of it.
    for suffix, in_a_row, target in (("", True, 0.01), (", first call after it", False, None)):
        yield compare(
            f"weights of {positives} positive anchors / loop over anchors{suffix}",
            lambda: weigh(idxs, labels, gt_boxes),
            lambda: loop(idxs, labels),
            pairs=25,
            device=device,
            target=target,
            in_a_row=in_a_row,
        )
    idxs = torch.randint(0, 300, (200_000,), generator=random).to(device)
    labels = (torch.rand(200_000, generator=random) < 0.025).to(torch.int8).to(device)
    weigh(idxs, labels, gt_boxes)
    times = [seconds(lambda: weigh(idxs, labels, gt_boxes), device) * 1000 for _ in range(30)]
    name = "weights over 200000 anchors / 2 ms, the time allowed"
    yield from_pairs(name, [(t, 2.0) for t in times], "ms", target=1.0)
