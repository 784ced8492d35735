"""A plan's runs: what is trained, skipped, resumed and refused."""

import json

import pytest

from scb_d2.cli import main
from scb_d2.errors import UserError
from scb_d2.experiment import training as module
from scb_d2.experiment.plan import load_plan
from scb_d2.experiment.training import finished_arms, run_state, train_all
from tests.experiment.scene import silent


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
