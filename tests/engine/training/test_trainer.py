from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.modeling import build_model as build_stock_model

from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import load_config
from scb_d2.engine.main import main
from scb_d2.engine.training.trainer import Trainer, warn_if_unweighted


def test_train_evaluate_and_resume(tiny_yaml: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["--config-file", str(tiny_yaml)]
    assert main(command) == 0
    results = json.loads((run / "results.json").read_text())
    assert set(results) == {"shapes_val"}
    assert results["shapes_val"]["bbox"]["AP"] >= 0.0
    assert results["shapes_val"]["bbox"]["APl"] is None, "64 px images hold no large object"
    logged = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    expected = {"total_loss", "lr", "bbox/AP", "scb/first/mean_weight"}
    assert expected <= set().union(*logged)

    assert main([*command, "--resume", "SOLVER.MAX_ITER", "6"]) == 0
    assert torch.load(run / "model_final.pth")["iteration"] == 5
    log = (run / "log.txt").read_text()
    assert "Starting training from iteration 4" in log

    (run / "results.json").unlink()
    weights = str(run / "model_final.pth")
    assert main([*command, "--eval-only", "MODEL.WEIGHTS", weights]) == 0
    evaluated = json.loads((run / "results.json").read_text())
    in_training = json.loads((run / "metrics.json").read_text().splitlines()[-1])
    assert evaluated["shapes_val"]["bbox"]["AP"] == pytest.approx(in_training["bbox/AP"])


def test_the_best_weights_are_kept_apart_from_the_checkpoint_to_resume(
    tiny_yaml: Path, tmp_path: Path
) -> None:
    assert main(["--config-file", str(tiny_yaml), "TEST.BEST_METRIC", "bbox/AP"]) == 0
    run = tmp_path / "run"
    best = torch.load(run / "model_best.pth")
    assert set(best) == {"model", "iteration"}
    assert (run / "last_checkpoint").read_text() == "model_final.pth"


def test_a_stock_model_under_a_scale_balanced_config_warns_once(
    tiny_yaml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class UsersTrainer(Trainer):
        @classmethod
        def build_model(cls, cfg):
            return build_stock_model(cfg)

    cfg = load_config(str(tiny_yaml), ["MODEL.DEVICE", "cpu"])
    with caplog.at_level(logging.WARNING):
        UsersTrainer(cfg)
        unweighted = [r for r in caplog.records if "weights its loss" in r.getMessage()]
        assert len(unweighted) == 1
        caplog.clear()
        Trainer(cfg)
    assert not [r for r in caplog.records if "weights its loss" in r.getMessage()]


@pytest.mark.parametrize("config", ["tiny_yaml", "tiny_lazy"])
def test_a_subclass_overrides_parts_as_in_detectron2(
    request: pytest.FixtureRequest, config: str, tmp_path: Path
) -> None:
    made = []

    class UsersTrainer(Trainer):
        @classmethod
        def build_model(cls, cfg):
            return super().build_model(cfg).requires_grad_(False)

        @classmethod
        def build_optimizer(cls, cfg, model):
            assert not any(p.requires_grad for p in model.parameters())
            made.append(torch.optim.SGD(model.parameters(), lr=0.5))
            return made[-1]

        @classmethod
        def build_evaluator(cls, cfg, dataset_name, output_folder=None):
            made.append(f"{dataset_name} evaluated")
            return super().build_evaluator(cfg, dataset_name, output_folder)

        def build_hooks(self):
            return [*super().build_hooks()[:-1], CountingHook()]

    class CountingHook(HookBase):
        pass

    path = str(request.getfixturevalue(config))
    if config == "tiny_yaml":
        cfg = load_config(path, ["MODEL.DEVICE", "cpu"])
    else:
        cfg = load_lazy_config(path, ["train.device=cpu"])
    trainer = UsersTrainer(cfg)
    assert isinstance(trainer, DefaultTrainer)
    assert trainer.optimizer is made[0]
    assert isinstance(trainer._hooks[-1], CountingHook)
    assert UsersTrainer.test(cfg, trainer.model)["bbox"]["AP"] >= 0
    assert made[1:] == ["shapes_val evaluated"]


def test_no_warning_where_the_loss_is_off(
    tiny_yaml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = load_config(str(tiny_yaml), ["MODEL.DEVICE", "cpu", "MODEL.SCB.ENABLED", "False"])
    with caplog.at_level(logging.WARNING):
        warn_if_unweighted(cfg, build_stock_model(cfg))
    assert not caplog.records


def test_an_image_missing_from_a_worker_process_is_one_sentence(
    tiny_yaml: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["--config-file", str(tiny_yaml), "DATASETS.SYNTHETIC.ROOT", str(tmp_path / "own")]
    load_and_break = load_config(str(tiny_yaml), command[2:])
    trainer = Trainer(load_and_break)  # makes the images
    del trainer
    for image in (tmp_path / "own").rglob("*train*/images/*"):
        image.write_bytes(image.read_bytes()[:60])  # the header that is read at the start, no more
    assert main([*command, "DATALOADER.NUM_WORKERS", "1"]) == 1
    captured = capfd.readouterr()
    sentence = captured.err.strip().splitlines()[-1]
    assert sentence.startswith("The image ")
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("opts", "sentence"),
    [
        (["MODEL.WEIGHTS", "no.pth"], "MODEL.WEIGHTS: the file no.pth does not exist."),
        (["MODEL.WEIGHTS", "/"], "MODEL.WEIGHTS: the weights / are a folder; name a checkpoint"),
        (["SOLVER.IMS_PER_BATCH", "0"], "SOLVER.IMS_PER_BATCH must be at least 1; got 0."),
        (
            ["SOLVER.REFERENCE_WORLD_SIZE", "8"],
            "SOLVER.IMS_PER_BATCH 2 and SOLVER.REFERENCE_WORLD_SIZE 8",
        ),
        (["SOLVER.MAX_ITER", "0"], "SOLVER.MAX_ITER must be at least 1"),
        (["TEST.BEST_MODE", "top"], "TEST.BEST_MODE must be max or min"),
        (["TEST.BEST_METRIC", "bbox/AP", "DATASETS.TEST", "()"], "TEST.BEST_METRIC is bbox/AP"),
        (
            ["TEST.AUG.ENABLED", "True"],
            "TEST.AUG.ENABLED True: TTA is only supported on GeneralizedRCNN",
        ),
        (["MODEL.RETINANET.NUM_CLASSES", "3"], "MODEL.RETINANET.NUM_CLASSES"),
        (["DATASETS.TRAIN", "nowhere"], "'nowhere', which is not registered"),
        (["MODEL.META_ARCHITECTURE", "SemanticSegmentor"], "does not support"),
    ],
)
def test_a_run_that_cannot_work_writes_nothing(
    tiny_yaml: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    opts: list[str],
    sentence: str,
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("kept")
    assert main(["--config-file", str(tiny_yaml), *opts]) == 1
    error = capfd.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert [path.name for path in run.iterdir()] == ["config.yaml"]
    assert (run / "config.yaml").read_text() == "kept"


def test_evaluation_without_a_data_set_is_refused(
    tiny_yaml: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config-file", str(tiny_yaml), "--eval-only", "DATASETS.TEST", "()"]) == 1
    assert "--eval-only needs a data set in DATASETS.TEST" in capfd.readouterr().err
