"""Intervals cover, adjustments are Holm's, and one seed cannot tell."""

import numpy as np
import pytest
from scipy import stats

from scb_d2.compare.intervals import compare_metric, holm, paired_t


def test_paired_t_equals_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(30, 1, 6), rng.normal(31, 1, 6)
    interval, p_value = paired_t(b - a)
    expected = stats.ttest_rel(b, a)
    assert interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert p_value == pytest.approx(expected.pvalue)


def test_paired_t_by_hand():
    # mean 2, standard deviation 1, t(0.975, 2) = 4.303
    interval, p_value = paired_t([1, 2, 3])
    half = 4.302652729911275 / np.sqrt(3)
    assert interval == pytest.approx((2 - half, 2 + half))
    assert p_value == pytest.approx(0.07417990022744859)


def test_degenerate_differences():
    assert paired_t([1.0]) is None
    assert paired_t([2.0, 2.0]) == ((2.0, 2.0), 0.0)
    assert paired_t([0.0, 0.0]) == ((0.0, 0.0), 1.0)


def test_holm_by_hand():
    # sorted: .01 x 4, .02 x 3, .03 x 2, .04 x 1, each at least the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([0.01, float("nan")])
    assert adjusted[0] == pytest.approx(0.01) and np.isnan(adjusted[1])
    assert holm([]) == []


def test_one_seed_per_arm_cannot_tell():
    metric = compare_metric([20.0], [35.0], np.linspace(10, 20, 100)).judged(0.95)
    assert metric.verdict == "cannot tell"
    assert metric.t_interval is None and metric.p_value is None
    assert metric.bootstrap_interval is not None


def test_the_wider_interval_decides():
    narrow, wide = np.linspace(1.9, 2.1, 101), np.linspace(-1, 5, 101)
    baseline, candidate = [20, 21, 22], [22, 23.01, 23.99]
    assert compare_metric(baseline, candidate, narrow).judged(0.95).verdict == "candidate better"
    assert compare_metric(baseline, candidate, wide).judged(0.95).verdict == "no difference shown"
    assert compare_metric(candidate, baseline, -narrow).judged(0.95).verdict == "candidate worse"
    metric = compare_metric(baseline, candidate, narrow)
    assert metric.judged(0.95, adjusted_p=0.2).verdict == "no difference shown"


def test_metrics_without_objects_cannot_tell():
    metric = compare_metric([np.nan] * 3, [np.nan] * 3, np.full(10, np.nan)).judged(0.95)
    assert metric.verdict == "cannot tell"
    assert metric.interval is None


@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_intervals_cover_a_known_effect_under_seed_noise(effect):
    rng = np.random.default_rng(3)
    covered = found = 0
    trials = 2000
    for _ in range(trials):
        image_luck = rng.normal(0, 3)  # shared by the arms of a pair
        baseline = 30 + image_luck + rng.normal(0, 1.5, 5)
        candidate = 30 + effect + image_luck + rng.normal(0, 1.5, 5)
        (low, high), _ = paired_t(candidate - baseline)
        covered += low <= effect <= high
        found += low > 0 or high < 0
    assert covered / trials == pytest.approx(0.95, abs=0.015)
    if effect == 0:
        assert found / trials == pytest.approx(0.05, abs=0.015)
