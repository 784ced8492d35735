"""Values that every part takes, and that train to nothing, are refused by their ranges."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.config import CfgNode

from scb_d2 import ConfigError, get_cfg
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.ranges import check_ranges
from scb_d2.engine.main import main

WRONG = [
    ("SOLVER.MOMENTUM", 1.5, "at least 0 and below 1"),
    ("SOLVER.MOMENTUM", -0.1, "at least 0 and below 1"),
    ("SOLVER.WARMUP_ITERS", -5, "at least 0"),
    ("SOLVER.WARMUP_FACTOR", -0.1, "at least 0"),
    ("SOLVER.CHECKPOINT_PERIOD", -1, "at least 1"),
    ("SOLVER.CHECKPOINT_PERIOD", 0, "at least 1"),
    ("SOLVER.WEIGHT_DECAY_NORM", -1.0, "at least 0"),
    ("TEST.PRECISE_BN.NUM_ITER", 0, "at least 1"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", [[32, 0]], "above 0"),
    ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[0.5, -1.0]], "above 0"),
    ("MODEL.RETINANET.FOCAL_LOSS_GAMMA", -2.0, "at least 0"),
    ("MODEL.RETINANET.FOCAL_LOSS_GAMMA", float("nan"), "at least 0"),
    ("MODEL.RETINANET.FOCAL_LOSS_ALPHA", 1.5, "from 0 to 1, or -1 for off"),
    ("MODEL.RETINANET.FOCAL_LOSS_ALPHA", -0.5, "from 0 to 1, or -1 for off"),
    ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 0, "at least 1"),
    ("MODEL.ROI_HEADS.POSITIVE_FRACTION", 2.0, "from 0 to 1"),
    ("DATALOADER.NUM_WORKERS", 100000, "at most "),
]


def config(key: str, value: object) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list([key, value])
    return cfg


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG)
def test_a_value_out_of_its_range_is_named(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_ranges(config(key, value), eval_only=False)
    assert str(error.value).startswith(f"{key} must be {allowed}")
    assert str(error.value).endswith(f"; got {value}.")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.RETINANET.FOCAL_LOSS_ALPHA", -1.0),
        ("MODEL.RETINANET.FOCAL_LOSS_GAMMA", 0.0),
        ("MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0),
        ("MODEL.ANCHOR_GENERATOR.ANGLES", [[-90, 0, 90]]),
        ("SOLVER.MOMENTUM", 0.0),
        ("SOLVER.WARMUP_ITERS", 0),
        ("DATALOADER.NUM_WORKERS", 64),
    ],
)
def test_values_at_the_ends_of_their_ranges_pass(key: str, value: object) -> None:
    check_ranges(config(key, value), eval_only=False)


def test_evaluation_alone_does_not_ask_for_the_solver() -> None:
    check_ranges(config("SOLVER.CHECKPOINT_PERIOD", -1), eval_only=True)


@pytest.mark.parametrize(
    ("opt", "sentence"),
    [
        ("optimizer.momentum=1.5", "optimizer.momentum must be at least 0 and below 1; got 1.5."),
        ("optimizer.params.weight_decay_norm=-1", "weight_decay_norm must be at least 0; got -1."),
        ("lr_multiplier.warmup_factor=-1", "lr_multiplier.warmup_factor must be at least 0; got"),
        ("train.checkpointer.period=-1", "train.checkpointer.period must be at least 1; got -1."),
        ("model.focal_loss_gamma=-2", "model.focal_loss_gamma must be at least 0; got -2."),
        ("model.focal_loss_alpha=2", "model.focal_loss_alpha must be from 0 to 1, or -1 for off"),
        ("model.anchor_generator.sizes=[[]]", "model.anchor_generator.sizes must be above 0; got"),
        ("model.anchor_generator.sizes=[[0]]", "model.anchor_generator.sizes must be above 0; got"),
        ("dataloader.train.num_workers=100000", "dataloader.train.num_workers must be at most "),
    ],
)
def test_lazy_configs_have_the_same_ranges(tiny_lazy: Path, opt: str, sentence: str) -> None:
    check_ranges(load_lazy_config(str(tiny_lazy)), eval_only=False)
    with pytest.raises(ConfigError) as error:
        check_ranges(load_lazy_config(str(tiny_lazy), [opt]), eval_only=False)
    assert sentence in str(error.value)


def test_train_net_refuses_before_anything_is_written(
    tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config-file", str(tiny_yaml), "SOLVER.MOMENTUM", "1.5"]) != 0
    assert "SOLVER.MOMENTUM must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
