"""Which runs are compared with which, and on what data."""

import json

import pytest

from scb_d2.compare.run_files import Run, find_run
from scb_d2.compare.runs import load_arms, pair_runs
from scb_d2.compare.settings import CompareChoices, recall_of_runs
from scb_d2.errors import ConfigError

from .simulated_runs import detections, scene


def run_of(seed, name="run"):
    return Run(f"{name}{seed}", None, {} if seed is None else {"SEED": seed}, None)


def test_runs_are_paired_by_seed_or_as_given():
    base, cand = [run_of(2), run_of(1)], [run_of(1, "c"), run_of(2, "c")]
    pairs, seeds = pair_runs(base, cand)
    assert [(a.name, b.name) for a, b in pairs] == [("run1", "c1"), ("run2", "c2")]
    assert seeds == (1, 2)
    pairs, seeds = pair_runs(base, cand, by="order")
    assert [(a.name, b.name) for a, b in pairs] == [("run2", "c1"), ("run1", "c2")]
    assert seeds is None
    assert pair_runs([run_of(None)], [run_of(1)])[1] is None


@pytest.mark.parametrize(
    ("base", "cand", "by", "says"),
    [
        ([1, 2], [1, 3], "auto", "different seeds"),
        ([1, 1], [1, 2], "auto", "same SEED"),
        ([1, 2], [1], "auto", "different seeds"),
        ([1, 2], [1], "order", "equally many"),
        ([None], [1], "seed", "no SEED"),
    ],
)
def test_arms_that_cannot_be_paired(base, cand, by, says):
    with pytest.raises(ConfigError, match=says):
        pair_runs([run_of(s) for s in base], [run_of(s) for s in cand], by=by)


def test_runs_that_measure_differently_are_refused_unless_a_flag_decides():
    edges = [[200.0, 1000.0], [300.0, 1000.0]]
    runs = [Run(f"r{e[0]:g}", None, {"TEST": {"RECALL": {"AREA_EDGES": e}}}, None) for e in edges]
    with pytest.raises(ConfigError, match=r"AREA_EDGES .* in r200 .* in r300"):
        recall_of_runs(runs, CompareChoices())
    recall_of_runs(runs, CompareChoices(areas=[1.0, 2.0]))


def test_what_a_killed_evaluation_left_is_not_read(tmp_path):
    for name in ("one", "two", ".two.partial-7"):
        (tmp_path / "inference" / name).mkdir(parents=True)
        (tmp_path / "inference" / name / "coco_instances_results.json").write_text("[]")
    (tmp_path / "config.yaml").write_text("DATASETS: {TEST: [one, two]}\n")
    assert find_run(tmp_path, "two").results.parent.name == "two"
    assert find_run(tmp_path, "one").results.parent.name == "one"


@pytest.fixture
def lazy_runs(tmp_path):
    """A run of each arm, of a LazyConfig whose code alone registers its data set."""
    data = scene(2)
    (tmp_path / "truth.json").write_text(json.dumps(data))
    for arm in ("base", "cand"):
        (tmp_path / arm / "inference").mkdir(parents=True)
        results = tmp_path / arm / "inference" / "coco_instances_results.json"
        results.write_text(json.dumps(detections(data, 1.0, seed=1)))
        (tmp_path / arm / "config.yaml").write_text(
            "train: {seed: 1}\ndataloader: {test: {dataset: {names: ships_val}}}\n"
        )
    return [tmp_path / "base"], [tmp_path / "cand"]


def test_runs_whose_data_set_only_a_lazy_config_registers_ask_for_annotations(lazy_runs):
    with pytest.raises(ConfigError, match="ships_val is registered by the code of a LazyConfig"):
        load_arms(*lazy_runs)


@pytest.mark.parametrize("beside", [True, False])
def test_such_runs_are_compared_where_annotations_are_at_hand(lazy_runs, tmp_path, beside):
    truth = tmp_path / "truth.json"
    for arm in lazy_runs if beside else ():
        truth_beside = arm[0] / "inference" / "coco_annotations.json"
        truth_beside.write_text(truth.read_text())
    arms = load_arms(*lazy_runs, annotations=None if beside else truth)
    assert (arms.dataset, len(arms.ground_truth), arms.image_root) == ("ships_val", 6, None)
