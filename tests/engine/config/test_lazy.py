from __future__ import annotations

import builtins
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from omegaconf import OmegaConf

from scb_d2 import ConfigError
from scb_d2.cli import main as command
from scb_d2.data.mapper import CheckedDatasetMapper
from scb_d2.engine import device
from scb_d2.engine.config.lazy import load_lazy_config, use_available_lazy_device
from scb_d2.engine.config.lazy_data import lazy_dataset_reports
from scb_d2.engine.config.lazy_file import running_once
from scb_d2.engine.config.rehearsal import check_run
from scb_d2.engine.main import main
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from scb_d2.experiment import training
from tests.data.cases.builders import write_coco

TIMES: list[int] = []


def test_train_evaluate_and_resume(tiny_lazy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["--config-file", str(tiny_lazy)]
    assert main(command) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["shapes_val"]["bbox"]["AP"] >= 0.0
    logged = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert {"total_loss", "lr", "bbox/AP"} <= set().union(*logged)
    assert set(torch.load(run / "model_best.pth")) == {"model", "iteration"}
    assert (run / "inference" / "coco_instances_results.json").is_file()
    assert (run / "last_checkpoint").read_text() == "model_final.pth"

    assert main([*command, "--resume", "train.max_iter=6"]) == 0
    assert "Starting training from iteration 4" in (run / "log.txt").read_text()
    assert torch.load(run / "model_final.pth")["iteration"] == 5

    (run / "results.json").unlink()
    assert main([*command, "--eval-only", f"train.init_checkpoint={run / 'model_final.pth'}"]) == 0
    evaluated = json.loads((run / "results.json").read_text())
    in_training = json.loads((run / "metrics.json").read_text().splitlines()[-1])
    assert evaluated["shapes_val"]["bbox"]["AP"] == pytest.approx(in_training["bbox/AP"])


def test_stock_mappers_and_evaluators_become_ours(tiny_lazy: Path) -> None:
    cfg = load_lazy_config(str(tiny_lazy))
    assert cfg.dataloader.train.mapper._target_ is CheckedDatasetMapper
    assert cfg.dataloader.test.mapper._target_ is CheckedDatasetMapper
    assert cfg.dataloader.evaluator._target_ is SafeCOCOEvaluator


def test_arguments_of_a_call_may_be_new(tiny_lazy: Path) -> None:
    opts = ["optimizer.nesterov=True", "model.box_reg_loss_type=giou"]
    opts += ["dataloader.evaluator.max_dets_per_image=50", "dataloader.evaluator.backend=auto"]
    cfg = load_lazy_config(str(tiny_lazy), opts)
    assert cfg.optimizer.nesterov is True
    assert cfg.model.box_reg_loss_type == "giou"
    assert cfg.dataloader.evaluator.max_dets_per_image == 50


@pytest.mark.parametrize(
    ("opts", "sentence"),
    [
        (["train.max_iters=3"], "did you mean train.max_iter?"),
        (["optimizer.lrr=3"], "did you mean optimizer.lr?"),
        (["nothing.at.all=3"], "nothing.at.all is not a key"),
        (["train.max_iter"], "overrides of a .py config are key=value"),
        (["train.max_iter=["], "cannot apply the override"),
        (["--resume"], "--resume must come before"),
        (["train.max_iter=1.5"], "train.max_iter must be of type int; got 1.5 (float)."),
        (["train.seed=x"], "train.seed must be of type int; got x (str)."),
        (["train.output_dir=5"], "train.output_dir must be of type str; got 5 (int)."),
        (["train.amp.enabled=maybe"], "train.amp.enabled must be of type bool; got maybe (str)."),
        (["train.amp=True"], "train.amp.enabled must be of type bool; got None (NoneType)."),
        (["dataloader.test=null"], "tiny.py: "),
    ],
)
def test_wrong_overrides_get_one_sentence(tiny_lazy: Path, opts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_lazy_config(str(tiny_lazy), opts)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_no_checkpoint_may_be_none(tiny_lazy: Path) -> None:
    cfg = load_lazy_config(str(tiny_lazy), ["train.init_checkpoint=null"])
    assert cfg.train.init_checkpoint == ""


def test_a_path_is_a_text(tiny_lazy: Path) -> None:
    tiny_lazy.write_text(
        f"{tiny_lazy.read_text()}\nfrom pathlib import Path\n"
        "train._set_flag('allow_objects', True)\ntrain.output_dir = Path('elsewhere')\n"
    )
    assert load_lazy_config(str(tiny_lazy)).train.output_dir == "elsewhere"


@pytest.fixture
def registering(tiny_lazy: Path, tmp_path: Path) -> Iterator[Path]:
    """A file that registers a data set by Detectron2's own functions, which refuse a name twice."""
    json_file, images = write_coco(tmp_path / "own")
    tiny_lazy.write_text(
        f"{tiny_lazy.read_text()}\n"
        "from detectron2.data.datasets import register_coco_instances\n"
        f"register_coco_instances('own', {{}}, {str(json_file)!r}, {str(images)!r})\n"
        "dataloader.train.dataset.names = dataloader.test.dataset.names = 'own'\n"
        "model.num_classes = 2\n"
    )
    yield tiny_lazy
    DatasetCatalog.pop("own", None)
    MetadataCatalog.pop("own", None)


def test_what_detectron2_registers_is_read_by_the_one_reader(
    registering: Path, tmp_path: Path
) -> None:
    def nulled(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["iscrowd"] = None

    write_coco(tmp_path / "own", nulled)
    load_lazy_config(str(registering))
    flags = {a["iscrowd"] for record in DatasetCatalog.get("own") for a in record["annotations"]}
    assert flags == {0}


def test_training_runs_the_file_once(registering: Path, tmp_path: Path) -> None:
    opts = ["train.max_iter=1", "train.eval_period=0", "train.best_metric=''", "train.device=cpu"]
    assert main(["--config-file", str(registering), "--no-rehearsal", *opts]) == 0
    assert (tmp_path / "run" / "results.json").is_file()


def test_advice_runs_the_file_once(registering: Path, tmp_path: Path) -> None:
    flags = ["--config-file", str(registering), "--output", str(tmp_path / "advice")]
    assert command(["advise", *flags, "train.device=cpu"]) == 0
    assert (tmp_path / "advice" / "plan.yaml").is_file()


def test_an_experiment_runs_the_file_once(
    registering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"config": str(registering), "output": str(tmp_path / "out"), "seeds": [1, 2]}
    plan["overrides"] = {"train.device": "cpu"}
    plan["arms"] = {"slow": {"optimizer.lr": 1e-4}, "fast": {"optimizer.lr": 1e-3}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    monkeypatch.setattr(training, "_TRAIN", "")  # the processes do nothing
    assert command(["experiment", str(tmp_path / "plan.yaml"), "--train-only"]) == 0


def test_a_file_that_is_run_once_gives_configs_of_their_own(tiny_lazy: Path) -> None:
    with tiny_lazy.open("a") as file:
        file.write("from tests.engine.config import test_lazy\ntest_lazy.TIMES.append(1)\n")
    TIMES.clear()
    with running_once():
        load_lazy_config(str(tiny_lazy), ["train.max_iter=7"]).model.num_classes = 9
        again = load_lazy_config(str(tiny_lazy))
    assert (again.train.max_iter, again.model.num_classes, len(TIMES)) == (4, 4, 1)
    load_lazy_config(str(tiny_lazy))
    assert len(TIMES) == 2


@pytest.mark.parametrize(
    ("addition", "sentence"),
    [
        ("train.model_ema = dict(enabled=True)", "train.model_ema is not supported"),
        ("optimizer = None", "does not define optimizer"),
        ("def (", r"tiny\.py, line \d+, is not valid Python: "),
        ("return 1", r"tiny\.py, line \d+, is not valid Python: 'return' outside function\.$"),
        ("eval('1 +')", r"tiny\.py, line \d+, raised SyntaxError: invalid syntax"),
        (
            "model.num_classes = clases",
            r"tiny\.py, line \d+, raised NameError: name 'clases' is",
        ),
        (
            "from nowhere import thing",
            r"line \d+, raised ModuleNotFoundError: No module named 'now",
        ),
        ("from .absent import model", r"line \d+, raised ImportError: Cannot import name absent"),
        ("int('four')", r"line \d+, raised ValueError: invalid literal"),
        ("dict()['lr']", r"line \d+, raised KeyError: 'lr'\.$"),
        ("assert not model", r"line \d+, raised AssertionError\.$"),
    ],
)
def test_what_is_missing_or_unknown_is_refused(
    tiny_lazy: Path, addition: str, sentence: str
) -> None:
    tiny_lazy.write_text(f"{tiny_lazy.read_text()}\n{addition}\n")
    with pytest.raises(ConfigError, match=sentence):
        load_lazy_config(str(tiny_lazy))


@pytest.mark.parametrize(
    "how",
    ["from .base import lr", "from detectron2.config import *; LazyConfig.load_rel('base.py')"],
)
@pytest.mark.parametrize("wrong", ["lr = (", "return"])
def test_an_imported_file_that_is_no_python_is_the_one_named(
    tiny_lazy: Path, how: str, wrong: str
) -> None:
    (tiny_lazy.parent / "base.py").write_text(f"\n{wrong}\n")
    tiny_lazy.write_text(f"{tiny_lazy.read_text()}\n{how}\n")
    with pytest.raises(ConfigError, match=r"^\S*base\.py, line 2, is not valid Python: "):
        load_lazy_config(str(tiny_lazy))


def test_an_imported_file_that_raises_is_the_one_named(tiny_lazy: Path) -> None:
    imports = builtins.__import__
    (tiny_lazy.parent / "base.py").write_text("lr = 0.1\nsteps = dict(last=1 / 0)\n")
    tiny_lazy.write_text(f"{tiny_lazy.read_text()}\nfrom .base import steps\n")
    with pytest.raises(ConfigError, match=r"base\.py, line 2, raised ZeroDivisionError: division"):
        load_lazy_config(str(tiny_lazy))
    assert builtins.__import__ is imports
    assert main(["--config-file", str(tiny_lazy)]) != 0


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("train.init_checkpoint", "no.pth", "train.init_checkpoint: the file no.pth"),
        ("train.max_iter", 0, "train.max_iter must be at least 1"),
        ("train.best_mode", "top", "train.best_mode must be max or min"),
        ("dataloader.train.total_batch_size", 3, "dataloader.train.total_batch_size"),
        ("model.num_classes", 5, "model.num_classes"),
        (
            "dataloader.test.dataset.names",
            "nowhere",
            "'nowhere', which is not registered .* in the config file with scb_d2.data.register",
        ),
    ],
)
def test_a_run_that_cannot_work_is_refused(
    tiny_lazy: Path, key: str, value: object, sentence: str
) -> None:
    cfg = load_lazy_config(str(tiny_lazy))
    OmegaConf.update(cfg, key, value)
    with pytest.raises(ValueError, match=sentence):
        check_run(cfg, 2, resume=False, eval_only=False)


def test_the_embedded_photographs_need_no_call(repo_root: Path) -> None:
    names = {
        "dataloader.train.dataset.names": "blood_cells_train",
        "dataloader.test.dataset.names": "blood_cells_test",
    }
    opts = [f"{key}={name}" for key, name in names.items()]
    for name in names.values():
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
    cfg = load_lazy_config(str(repo_root / "configs" / "lazy" / "fcos_scb.py"), opts)
    reports = lazy_dataset_reports(cfg, headers=0)
    assert [report.name for report in reports] == list(names.values())


def test_evaluation_without_an_evaluator_is_refused(tiny_lazy: Path) -> None:
    cfg = load_lazy_config(str(tiny_lazy))
    del cfg.dataloader.evaluator
    with pytest.raises(ConfigError, match=r"dataloader\.evaluator"):
        check_run(cfg, 1, resume=False, eval_only=False)
    cfg.train.eval_period, cfg.train.best_metric = 0, ""
    check_run(cfg, 1, resume=False, eval_only=False)


def test_without_a_gpu_the_cpu_is_used_and_said(
    tiny_lazy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: False)
    cfg = load_lazy_config(str(tiny_lazy), ["train.amp.enabled=True"])
    with caplog.at_level(logging.WARNING):
        use_available_lazy_device(cfg)
    assert (cfg.train.device, cfg.train.amp.enabled) == ("cpu", False)
    assert len(caplog.records) == 2
