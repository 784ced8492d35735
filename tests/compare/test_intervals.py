"""Intervals cover, adjustments are Holm's, and one seed cannot tell."""

import numpy as np
import pytest
from scipy import stats

from scb_d2.compare.intervals import compare_metric, detectable_difference, holm, paired_t
from scb_d2.compare.judgement import judge


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


def test_no_spread_is_never_certainty():
    assert paired_t([1.0]) is None
    assert paired_t([2.0, 2.0]) is None
    assert paired_t([0.1 + 0.2, 0.3, 0.3]) is None  # equal but for rounding
    assert paired_t([0.0, 0.0]) == ((0.0, 0.0), 1.0)
    metric = compare_metric([1, 2, 3], [3, 4, 5], np.linspace(1.5, 2.5, 100))
    assert metric.p_value is None and metric.interval is None
    assert verdict_of(metric) == "cannot tell"
    equal = compare_metric([0.0] * 3, [0.0] * 3, np.zeros(10))
    assert verdict_of(equal) == "no difference shown"


def verdict_of(metric, confidence=0.95):
    table = judge({"": {"AP": metric}}, primary="AP", confirmatory="", confidence=confidence)
    return table[""]["AP"].text


def test_holm_by_hand():
    # sorted: .01 x 4, .02 x 3, .03 x 2, .04 x 1, each at least the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([0.01, float("nan")])
    assert adjusted[0] == pytest.approx(0.01) and np.isnan(adjusted[1])
    assert holm([]) == []


def test_one_seed_per_arm_cannot_tell():
    metric = compare_metric([20.0], [35.0], np.linspace(10, 20, 100))
    assert verdict_of(metric) == "cannot tell"
    assert metric.t_interval is None and metric.p_value is None
    # The bootstrap alone covers too little to be shown as an interval.
    assert metric.bootstrap_interval is not None and metric.interval is None


def with_intervals(t, bootstrap):
    """Three pairs whose t interval is `t`, and draws whose percentiles are `bootstrap`."""
    middle, half = np.mean(t), (t[1] - t[0]) / 2
    error = half / stats.t.ppf(0.975, 2)
    differences = middle + error * np.sqrt(3) * np.array([-1, 0, 1])
    low, high = bootstrap
    draws = np.linspace(low - (high - low) / 38, high + (high - low) / 38, 2001)
    return compare_metric(np.zeros(3), differences, draws)


def test_the_hull_of_both_intervals_decides():
    metric = with_intervals((0.1, 5.9), (-0.2, 4.5))
    assert metric.t_interval == pytest.approx((0.1, 5.9))
    assert metric.bootstrap_interval == pytest.approx((-0.2, 4.5), abs=0.01)
    # The t interval is the wider one and leaves out 0; the hull does not.
    assert metric.interval == pytest.approx((-0.2, 5.9), abs=0.01)
    assert verdict_of(metric) == "no difference shown"
    assert verdict_of(with_intervals((0.1, 5.9), (0.2, 4.5))) == "candidate better"
    assert verdict_of(with_intervals((-5.9, -0.1), (-4.5, -0.2))) == "candidate worse"
    assert verdict_of(with_intervals((-0.1, 5.9), (0.2, 4.5))) == "no difference shown"


def with_p(p_value, sign=1):
    """A comparison of five pairs whose paired t test has this p-value."""
    mean = stats.t.isf(p_value / 2, 4) / np.sqrt(5)
    spread = np.array([-2, -1, 0, 1, 2]) / np.std([-2, -1, 0, 1, 2], ddof=1)
    return compare_metric(np.zeros(5), sign * (mean + spread), None)


def test_one_comparison_of_a_plan_is_confirmatory_and_the_others_are_adjusted():
    p_values = {"scb": 0.04, "uniform": 0.002, "scb-uniform": 0.0145, "mean": 0.6}
    tables = {name: {"APs": with_p(p)} for name, p in p_values.items()}
    found = judge(tables, primary="APs", confirmatory="scb")
    assert found["scb"]["APs"].adjusted_p is None
    assert found["scb"]["APs"].text == "candidate better"
    # Sorted among three: 0.002 x 3, 0.0145 x 2, 0.6 x 1.
    adjusted = {name: found[name]["APs"].adjusted_p for name in p_values if name != "scb"}
    assert adjusted == pytest.approx({"uniform": 0.006, "scb-uniform": 0.029, "mean": 0.6})
    others = judge(
        tables | {"more": tables["mean"], "most": tables["mean"]},
        primary="APs",
        confirmatory="mean",
    )
    assert others["scb"]["APs"].text == "no difference shown"  # 0.04 x 3
    assert others["uniform"]["APs"].text == "candidate better"  # 0.002 x 5


def test_further_metrics_are_adjusted_over_all_comparisons():
    tables = {
        "scb": {"APs": with_p(0.5), "AP": with_p(0.02, -1)},
        "uniform": {"APs": with_p(0.5), "AP": with_p(0.01)},
    }
    found = judge(tables, primary="APs", confirmatory="scb")
    assert found["uniform"]["AP"].adjusted_p == pytest.approx(0.02)
    assert found["scb"]["AP"].adjusted_p == pytest.approx(0.02)
    assert found["scb"]["AP"].text == "candidate worse"


def test_detectable_difference_is_found_as_often_as_it_says():
    spread = [-1.0, 0.0, 1.0, 0.5, -0.5]
    difference = detectable_difference(spread, power=0.8)
    rng = np.random.default_rng(0)
    draws = rng.normal(difference, np.std(spread, ddof=1), (4000, 5))
    shown = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.02)
    assert detectable_difference([1.0]) is None


@pytest.mark.parametrize("confidence", [0.95, 0.99, 0.999])
def test_detectable_difference_of_two_seeds_at_any_confidence(confidence):
    difference = detectable_difference([-1.0, 1.0], confidence=confidence)
    rng = np.random.default_rng(0)
    draws = rng.normal(difference, np.sqrt(2), (20_000, 2))
    shown = stats.ttest_1samp(draws, 0, axis=1).pvalue < 1 - confidence
    assert shown.mean() == pytest.approx(0.8, abs=0.015)


def test_metrics_without_objects_cannot_tell():
    metric = compare_metric([np.nan] * 3, [np.nan] * 3, np.full(10, np.nan))
    assert verdict_of(metric) == "cannot tell"
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
