"""What of a plan is judged, and how; what cannot be is refused before the training."""

import json
import shutil

import pytest
import yaml

from scb_d2.cli import main
from scb_d2.errors import ConfigError, UserError
from scb_d2.experiment import training as module
from scb_d2.experiment.plan import load_plan
from scb_d2.experiment.training import finished_arms, train_all
from scb_d2.utils.revision import revision
from tests.compare.simulated_runs import detections, scene, write_run
from tests.experiment.scene import PLAN, silent

SIDES = ("baseline", "candidate")


RULE = {"primary": "APs", "confirmatory": ["uniform", "scb"], "resamples": 5, "areas": [200, 1000]}


SETTINGS = {
    "MODEL": {"META_ARCHITECTURE": "RetinaNet"},
    "SOLVER": {"MAX_ITER": 5, "IMS_PER_BATCH": 2, "BASE_LR": 0.1},
}


def test_only_seeds_that_all_arms_finished_are_judged(plan):
    def train(run):
        if (run.arm, run.seed) == ("scb", 1):
            raise UserError("the power went")

    with pytest.raises(UserError, match="no seed is finished"):
        finished_arms(load_plan(plan()))
    with pytest.raises(UserError, match="power"):
        train_all(load_plan(plan()), train, silent)
    arms = finished_arms(load_plan(plan()))
    assert {name: [run.seed for run in runs] for name, runs in arms.items()} == {
        "stock": [3],
        "scb": [3],
    }


def test_a_data_set_that_no_run_is_tested_on_is_refused_before_the_training(plan):
    other = plan(overrides={"DATASETS.TEST": ["one_val"]}, compare={"dataset": "cells_val"})
    with pytest.raises(ConfigError, match=r"stock is tested on one_val .* got 'cells_val'"):
        train_all(load_plan(other), silent, silent)


def test_of_several_test_sets_one_is_named_before_the_training(plan):
    several = {"DATASETS.TEST": ["one_val", "two_val"]}
    for compare, got in (({}, "got None"), ({"dataset": "three"}, "got 'three'")):
        with pytest.raises(ConfigError, match=r"stock is tested on one_val, two_val") as error:
            train_all(load_plan(plan(overrides=several, compare=compare)), silent, silent)
        assert "compare.dataset" in str(error.value) and got in str(error.value)
    trained = []
    named = plan(overrides=several, compare={"dataset": "two_val"})
    train_all(load_plan(named), lambda run: trained.append(run.seed), silent)
    assert trained == [3, 3, 1, 1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"overrides": {"TEST.RECALL.AREA_EDGES": [400]}, "compare": {"primary": "APs"}},
            "primary metric 'APs': must be one of AP-0-400, ",
        ),
        ({"compare": {"primary": "AP-0-400"}}, "primary metric 'AP-0-400': must be one of APs, "),
        (
            {"arms": {"stock": None, "scb": {"TEST.RECALL.AREA_EDGES": [400, 900]}}},
            "TEST.RECALL.AREA_EDGES is .* in stock, seed 3 and .*400.* in scb, seed 3: say what",
        ),
    ],
)
def test_sizes_that_cannot_be_judged_are_refused_before_the_training(plan, changes, sentence):
    path = plan(**changes)
    with pytest.raises(ConfigError, match=f"plan.yaml: compare: {sentence}"):
        train_all(load_plan(path), silent, silent)


def test_sizes_of_the_runs_or_of_the_plan_have_their_primary_metric(plan):
    sizes = {"TEST.RECALL.AREA_EDGES": [400]}
    for changes in (
        {"overrides": sizes, "compare": {"primary": "AP-0-400"}},
        {"arms": {"stock": None, "scb": sizes}, "compare": {"primary": "APs", "areas": [9, 99]}},
    ):
        trained = []
        train_all(load_plan(plan(**changes)), lambda run, to=trained: to.append(run), silent)
        assert len(trained) == 4
        shutil.rmtree("out")


def test_the_arms_are_compared(plan, tmp_path, monkeypatch, capsys):
    data = scene(12)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(data))

    def train(run):
        quality = {"stock": 0.5, "uniform": 0.7, "scb": 0.9}[run.arm]
        rows = detections(data, quality, run.seed)
        scratch = tmp_path / "scratch" / f"{run.arm}{run.seed}"
        write_run(scratch, rows, run.seed, truth)
        results = scratch / "inference" / "coco_instances_results.json"
        for name in ("my_val", "other"):  # two test sets
            (run.folder / "inference" / name).mkdir(parents=True)
            shutil.copy(results, run.folder / "inference" / name)
        file = run.folder / "config.yaml"
        config = SETTINGS | yaml.safe_load((scratch / "config.yaml").read_text())
        config["DATASETS"] |= {"TRAIN": ["some"], "TEST": ["my_val", "other"]}
        file.write_text(yaml.safe_dump(config))

    monkeypatch.setattr(module.train_all, "__defaults__", (train, silent, (1, 1)))
    arms = PLAN["arms"] | {"uniform": {"MODEL.SCB.FORM": "uniform"}}
    path = plan(arms=arms, comparisons=[["uniform", "scb"]], compare=RULE | {"dataset": "my_val"})
    assert main(["experiment", str(path), "--pictures", "1"]) == 0
    assert "scb against stock: APs (primary)" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "compare" / "scb" / "compare.json").read_text())
    assert [row["seed"] for row in result["pairs"]] == [1, 3]
    assert result["rules"]["bins"]["small"] == "area < 14.1421² px"
    assert result["rules"]["resamples"] == 5
    # The confirmatory comparison needs no adjustment; the other primaries get one over the plan.
    assert result["metrics"]["APs"]["adjusted_p"] >= result["metrics"]["APs"]["p_value"]
    assert compared(tmp_path, "uniform", "scb")["APs"]["adjusted_p"] is None

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["command"] == f"scb-d2 experiment {path} --pictures 1"
    assert summary["commit"] == summary["judged_by"] == revision()
    assert summary["confirmatory"] == ["uniform", "scb"]
    assert summary["seeds"] == [3, 1] and summary["iterations"] == 5
    assert [(row["baseline"], row["candidate"]) for row in summary["comparisons"]] == [
        ("stock", "scb"),
        ("stock", "uniform"),
        ("uniform", "scb"),
    ]
    for row in summary["comparisons"]:
        base, cand = (summary["arms"][row[side]]["metrics"]["AP"] for side in SIDES)
        means = [sum(values.values()) / 2 for values in (base, cand)]
        assert row["metrics"]["AP"]["difference"] == pytest.approx(means[1] - means[0], abs=1e-3)
        assert row["metrics"]["AP"] == rounded(compared(tmp_path, *(row[s] for s in SIDES))["AP"])
    scb = summary["arms"]["scb"]
    assert scb["overrides"] == {
        "TEST.RECALL.ENABLED": "True",
        "SOLVER.MAX_ITER": "5",
        "SOLVER.STEPS": "[]",
    }
    assert len(scb["minutes"]) == 2 and min(scb["minutes"]) >= 0
    assert not any("fp=baseline" in name for name in scb["metrics"])


def compared(root, baseline, candidate):
    name = candidate if baseline == "stock" else f"{candidate}_against_{baseline}"
    return json.loads((root / "out" / "compare" / name / "compare.json").read_text())["metrics"]


def rounded(row):
    keys = ("family", "size", "operating_point", "difference", "t_interval")
    keys += ("bootstrap_interval", "interval", "detectable", "p_value", "adjusted_p", "verdict")
    return {key: _round(row[key]) for key in keys}


def _round(value):
    if isinstance(value, list):
        return [round(part, 4) for part in value]
    return round(value, 4) if isinstance(value, float) else value
