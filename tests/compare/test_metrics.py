"""The bootstrap equals a loop."""

import numpy as np
import pytest

from scb_d2.compare import metrics as metrics_module
from scb_d2.compare.metrics import bootstrap_differences, list_metrics, pair_metrics
from scb_d2.compare.operating_point import OperatingPoint
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.evaluation.recall import RecallSettings, RunTables

from .simulated_runs import detections, scene


@pytest.mark.parametrize("point", ["score@0.4", "fp@0.3", "baseline@0.4"])
def test_bootstrap_is_a_loop_over_resamples(monkeypatch, point):
    """Seed pairs, then images, drawn one resample after the other."""
    monkeypatch.setattr(metrics_module, "_AT_ONCE", 3)
    truth, recall, rng = load_ground_truth(scene(9)), RecallSettings(), np.random.default_rng(5)
    pairs = [
        tuple(
            RunTables.from_detections(
                truth, load_detections(detections(scene(9), rate, seed), truth), recall
            )
            for rate in (0.4, 0.7)
        )
        for seed in range(3)
    ]
    metrics = list_metrics(recall, OperatingPoint.parse(point))
    expected = []
    for _ in range(11):
        drawn = rng.integers(0, 3, 3)
        weights = np.bincount(rng.integers(0, 9, 9), minlength=9)[None]
        values = [pair_metrics(metrics, *pairs[n], weights) for n in drawn]
        expected.append(np.mean([(after - before)[0] for before, after in values], axis=0))
    found = bootstrap_differences(metrics, pairs, 9, 11, seed=5)
    np.testing.assert_allclose(found, expected, atol=1e-10)
