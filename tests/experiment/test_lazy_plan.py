"""Plans of LazyConfigs."""

import pytest

from scb_d2.errors import ConfigError, UserError
from scb_d2.experiment.plan import load_plan
from scb_d2.experiment.training import train_all
from tests.experiment.scene import silent

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
