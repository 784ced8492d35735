"""A plan's runs: what is trained, skipped, resumed and refused."""

import json
import shutil

import pytest
import yaml

from scb_d2.cli import main
from scb_d2.errors import ConfigError, UserError
from scb_d2.experiment import training as module
from scb_d2.experiment.plan import load_plan
from scb_d2.experiment.training import finished_arms, run_state, train_all
from scb_d2.utils.revision import revision
from tests.compare.simulated_runs import detections, scene, write_run

PLAN = {
    "config": "base.yaml",
    "output": "out",
    "seeds": [3, 1],
    "overrides": {"SOLVER.MAX_ITER": 5, "SOLVER.STEPS": []},
    "arms": {"stock": {"MODEL.SCB.ENABLED": False}, "scb": None},
    "num_gpus": 1,
}
SIDES = ("baseline", "candidate")
RULE = {"primary": "APs", "confirmatory": ["uniform", "scb"], "resamples": 5, "areas": [200, 1000]}
SETTINGS = {
    "MODEL": {"META_ARCHITECTURE": "RetinaNet"},
    "SOLVER": {"MAX_ITER": 5, "IMS_PER_BATCH": 2, "BASE_LR": 0.1},
}


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "base.yaml").write_text("SEED: 1\n")

    def write(**changes):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(PLAN | changes, sort_keys=False))
        return path

    return write


def silent(line):
    pass


def test_commands_of_a_plan(plan, tmp_path):
    runs = load_plan(plan()).arms
    assert [(run.arm, run.seed) for arm in runs.values() for run in arm] == [
        ("stock", 3),
        ("stock", 1),
        ("scb", 3),
        ("scb", 1),
    ]
    flags = f"--config-file {tmp_path}/base.yaml --num-gpus 1 --resume TEST.RECALL.ENABLED True"
    opts = "SOLVER.MAX_ITER 5 SOLVER.STEPS [] MODEL.SCB.ENABLED False SEED 3 OUTPUT_DIR"
    assert runs["stock"][0].command == [*flags.split(), *opts.split(), "out/stock/seed3"]


LAZY = """
from detectron2.config import LazyCall as L
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator

class Loader:
    pass

dataloader = {"train": L(Loader)(total_batch_size=2), "test": L(Loader)(), "evaluator": None}
dataloader["train"]["dataset"] = L(Loader)(names="one")
dataloader["test"]["dataset"] = L(Loader)(names="one")
model, optimizer, lr_multiplier = L(Loader)(), L(Loader)(lr=0.1), L(Loader)(function=lambda x: x)
train = {"max_iter": 5}
"""


@pytest.fixture
def lazy_plan(tmp_path, plan):
    (tmp_path / "base.py").write_text(LAZY)
    arms = {"stock": None, "scb": {"model._target_": "scb_d2.ScaleBalancedRetinaNet"}}
    return lambda **changes: plan(
        **{"config": "base.py", "overrides": {"optimizer.lr": 0.05}, "arms": arms} | changes
    )


def test_a_lazy_config_has_a_plan_too(lazy_plan, tmp_path):
    run = load_plan(lazy_plan()).arms["scb"][0]
    flags = f"--config-file {tmp_path}/base.py --num-gpus 1 --resume optimizer.lr=0.05"
    own = "model._target_='scb_d2.ScaleBalancedRetinaNet' train.seed=3"
    assert run.command == [*flags.split(), *own.split(), "train.output_dir='out/scb/seed3'"]
    for key, name in (("train.seed", "seeds"), ("train.output_dir", "output")):
        with pytest.raises(ConfigError, match=f"overrides: {key} follows from '{name}'"):
            load_plan(lazy_plan(overrides={key: 1}))


def test_runs_of_a_lazy_config_go_on_where_they_were(lazy_plan, tmp_path):
    trained = []
    for _ in range(2):  # a lambda is another object each time the file is run
        train_all(load_plan(lazy_plan()), lambda run: trained.append(run.seed), silent)
    assert trained == [3, 3, 1, 1]
    (tmp_path / "base.py").write_text(LAZY.replace('"max_iter": 5', '"max_iter": 6'))
    with pytest.raises(UserError, match=r"train.max_iter was 5, now 6"):
        train_all(load_plan(lazy_plan()), silent, silent)


def test_finished_runs_are_skipped_and_interrupted_ones_resumed(plan):
    experiment = load_plan(plan())
    trained = []

    def train(run):
        trained.append((run.arm, run.seed))
        if len(trained) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(experiment, train, silent)
    # Both arms of a seed before the next seed.
    assert trained == [("stock", 3), ("scb", 3), ("stock", 1)]
    train_all(load_plan(plan()), train, silent)
    assert trained[3:] == [("stock", 1), ("scb", 1)]
    said = []
    train_all(load_plan(plan()), train, said.append)
    assert len(trained) == 5
    assert all("finished before" in line for line in said)


def test_processes_share_a_plan(plan):
    trained = []
    for number in (2, 1):
        train_all(
            load_plan(plan()),
            lambda run: trained.append((run.arm, run.seed)),
            silent,
            part=(number, 2),
        )
    assert trained == [("scb", 3), ("scb", 1), ("stock", 3), ("stock", 1)]
    assert len(finished_arms(load_plan(plan()))["scb"]) == 2
    assert main(["experiment", str(plan()), "--part", "1/2"]) == 0
    with pytest.raises(SystemExit):
        main(["experiment", str(plan()), "--part", "3/2"])


def test_a_new_seed_is_added_to_an_experiment(plan):
    trained = []
    train_all(load_plan(plan()), lambda run: trained.append(run.seed), silent)
    train_all(load_plan(plan(seeds=[3, 1, 7])), lambda run: trained.append(run.seed), silent)
    assert trained == [3, 3, 1, 1, 7, 7]


def test_runs_of_other_settings_are_never_mixed(plan, tmp_path):
    train_all(load_plan(plan()), silent, silent)
    with pytest.raises(UserError, match=r"SOLVER.MAX_ITER was 5, now 6"):
        train_all(load_plan(plan(overrides={"SOLVER.MAX_ITER": 6})), silent, silent)
    with pytest.raises(UserError, match="num_gpus was 1, now 2"):
        train_all(load_plan(plan(num_gpus=2)), silent, silent)
    other = tmp_path / "out2" / "scb" / "seed1"
    other.mkdir(parents=True)
    (other / "model_final.pth").touch()
    trained = []
    with pytest.raises(UserError, match="not of this experiment"):
        train_all(load_plan(plan(output="out2")), trained.append, silent)
    assert not trained


def test_a_base_file_belongs_to_the_run(plan, tmp_path):
    (tmp_path / "below.yaml").write_text("SOLVER: {BASE_LR: 0.1}\n")
    (tmp_path / "base.yaml").write_text("_BASE_: below.yaml\n")
    train_all(load_plan(plan()), silent, silent)
    (tmp_path / "below.yaml").write_text("SOLVER: {BASE_LR: 0.1}  # a remark\n")
    train_all(load_plan(plan()), pytest.fail, silent)
    (tmp_path / "below.yaml").write_text("SOLVER: {BASE_LR: 0.2}\n")
    with pytest.raises(UserError, match=r"SOLVER.BASE_LR was 0.1, now 0.2"):
        train_all(load_plan(plan()), silent, silent)


def test_a_commit_belongs_to_the_run(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "revision", lambda: "one")
    train_all(load_plan(plan()), silent, silent)
    monkeypatch.setattr(module, "revision", lambda: "two")
    with pytest.raises(UserError, match="commit was 'one', now 'two'"):
        train_all(load_plan(plan()), silent, silent)
    # Judging later is no training: the runs need one commit among them, whichever, and defaults
    # may have changed since.
    (tmp_path / "base.yaml").write_text("SOLVER: {MOMENTUM: 0.8}\n")
    assert len(finished_arms(load_plan(plan()))["scb"]) == 2
    with pytest.raises(UserError, match=r"SOLVER.MAX_ITER was '5', now '6'"):
        finished_arms(load_plan(plan(overrides={"SOLVER.MAX_ITER": 6, "SOLVER.STEPS": []})))
    (tmp_path / "base.yaml").write_text("SEED: 1\n")
    with pytest.raises(UserError, match="commit"):
        train_all(load_plan(plan(seeds=[3, 1, 7])), silent, silent)
    other = load_plan(plan()).arms["scb"][0]
    state = run_state(other)
    state["run"]["commit"] = "two"
    (other.folder / module.MARKER).write_text(json.dumps(state))
    with pytest.raises(UserError, match="several commits"):
        finished_arms(load_plan(plan()))


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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"arms": {"one": {}}}, "two names"),
        ({"arms": {"a/b": {}, "c": {}}}, "arm 'a/b'"),
        ({"arms": {"a": [1], "c": {}}}, "arms.a"),
        ({"overrides": {"SEED": 3}}, "SEED follows from 'seeds'"),
        ({"config": "none.yaml"}, "none.yaml"),
        ({"config": "base.json"}, "YAML config or of a LazyConfig"),
        ({"num_gpus": "all"}, "num_gpus"),
        ({"runs": 3}, "unknown key 'runs'"),
        ({"comparisons": "scb"}, "comparisons must be a list"),
        ({"compare": {"primmary": "APs"}}, "compare: unknown key 'primmary'"),
        ({"compare": {"primary": "mAP"}}, "compare: primary metric 'mAP'"),
        ({"compare": {"areas": [9, 4]}}, "compare: area limits"),
        ({"compare": {"confidence": "high"}}, "compare.confidence"),
        ({"compare": {"confirmatory": ["scb", "stock"]}}, "compare.confirmatory"),
        ({"comparisons": [["scb", "none"]]}, "['scb', 'none'] must be two of the arms"),
        ({"comparisons": [["scb", "scb"]]}, "['scb', 'scb']"),
        ({"comparisons": [["stock", "scb"]]}, "a pair not compared anyway"),
    ],
)
def test_malformed_plans_name_the_key(plan, changes, says):
    with pytest.raises(ConfigError) as error:
        load_plan(plan(**changes))
    assert says in str(error.value)


def test_an_arm_that_is_there_twice_is_refused(plan):
    path = plan()
    path.write_text(path.read_text().replace("  scb:", "  stock:"))
    with pytest.raises(
        ConfigError, match=r"not readable YAML: the key 'stock' of line \d+ is given"
    ):
        load_plan(path)


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


def test_a_failed_run_keeps_no_other_from_its_training(plan):
    experiment, said = load_plan(plan()), []

    def train(run):
        if run.arm == "scb":
            raise UserError(f"{run.arm}, seed {run.seed} failed: it diverged.")

    with pytest.raises(UserError) as error:
        train_all(experiment, train=train, say=said.append)
    runs = sum(map(len, experiment.arms.values()))
    failed = len(experiment.arms["scb"])
    assert str(error.value).startswith(f"{failed} of {runs} runs failed")
    assert str(error.value).endswith("scb, seed 3 failed: it diverged.")
    assert sum(": done in" in line for line in said) == runs - failed

    trained = []
    train_all(experiment, train=trained.append, say=said.append)
    assert [run.arm for run in trained] == ["scb"] * failed


def test_a_failed_run_gives_its_last_line(plan, capsys):
    assert (
        main(["experiment", str(plan(seeds=[3], overrides={"DATASETS.TRAIN": ["none_such"]}))]) == 1
    )
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "stock, seed 3 failed" in error and "none_such" in error


def test_a_wrong_key_shows_before_the_first_run(plan, capsys, tmp_path):
    assert main(["experiment", str(plan(overrides={"NO.SUCH.KEY": 1}))]) == 1
    assert "NO.SUCH.KEY" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
