"""Which metrics are judged; the bootstrap equals a loop and covers a known effect."""

import numpy as np
import pytest

from scb_d2.compare import metrics as metrics_module
from scb_d2.compare.intervals import compare_metric
from scb_d2.compare.metrics import bootstrap_differences, list_metrics, pair_metrics
from scb_d2.compare.operating_point import OperatingPoint
from scb_d2.compare.settings import CompareSettings
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import ConfigError
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


def test_few_metrics_are_judged():
    names = [m.name for m in CompareSettings().metrics if m.judged]
    recall = [f"recall_{size}_fp=baseline@0.3" for size in ("small", "medium", "large", "all")]
    assert names == ["APs", "APm", "APl", "AP", *recall]
    chosen = CompareSettings(primary="AP50", recall_at=OperatingPoint("fp", 1.0))
    assert [m.name for m in chosen.metrics][:2] == ["AP50", "APs"]
    assert {m.judged for m in chosen.metrics if m.name == "recall_small_fp1"} == {True}
    with pytest.raises(ConfigError, match="no verdict"):
        CompareSettings(recall_at=OperatingPoint("score", 0.3))


def test_bootstrap_covers_a_known_effect_with_seed_and_image_noise():
    """Every seed and every image shift the rate; the hull covers at least as often."""
    covered, trials, effect = 0, 30, 0.15
    recall, point = RecallSettings(), OperatingPoint("score", 0.01)
    metrics = [m for m in list_metrics(recall, point) if m.name == "recall_small_0.01"]
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        data = scene(30, seed=trial)
        truth = load_ground_truth(data)
        hard = rng.normal(0, 0.1, 30)
        pairs, values = [], []
        for _ in range(4):
            rates = rng.normal(0.4, 0.04), rng.normal(0.4 + effect, 0.04)
            runs = [
                load_detections(detections(data, r, int(rng.integers(1e9)), hard), truth)
                for r in rates
            ]
            tables = [RunTables.from_detections(truth, run, recall) for run in runs]
            pairs.append(tuple(tables))
            hits = [t.recall.curve(np.ones(30, int)).at_score(0.01).recall[1] for t in tables]
            values.append(hits)
        resampled = bootstrap_differences(metrics, pairs, 30, 40, seed=trial)[:, 0]
        low, high = compare_metric(*np.transpose(values), resampled).interval
        covered += low <= 100 * effect <= high
    assert covered / trials >= 0.9
