"""What a plan says, and which are refused."""

import pytest

from scb_d2.cli import main
from scb_d2.errors import ConfigError
from scb_d2.experiment.plan import load_plan


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


def test_a_wrong_key_shows_before_the_first_run(plan, capsys, tmp_path):
    assert main(["experiment", str(plan(overrides={"NO.SUCH.KEY": 1}))]) == 1
    assert "NO.SUCH.KEY" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
