"""Values that Detectron2 would only refuse in the middle of a run are refused before its start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from scb_d2 import ConfigError, UserError
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import load_config
from scb_d2.engine.config.rehearsal import check_run
from scb_d2.engine.main import main

CLIP = ["SOLVER.CLIP_GRADIENTS.ENABLED", "True"]
COSINE = ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]
CROP = ["INPUT.CROP.ENABLED", "True"]
TWO_SETS = ["DATASETS.TEST", "('shapes_val', 'shapes_train')"]
LAZY_MASKS = ["dataloader.train.mapper.use_instance_mask=True"]
MASKS = ["MODEL.MASK_ON", "True"]
PRECISE_BN = ["TEST.PRECISE_BN.ENABLED", "True"]

WRONG: list[tuple[list[str], str]] = [
    ([*CLIP, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"], "the optimizer"),
    (["SOLVER.BASE_LR", "-0.1"], "the optimizer"),
    (["SOLVER.WEIGHT_DECAY", "-1.0"], "the optimizer"),
    (["SOLVER.NESTEROV", "True", "SOLVER.MOMENTUM", "0.0"], "the optimizer"),
    (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosine"], "the learning rate's schedule"),
    (["SOLVER.WARMUP_METHOD", "cosine"], "the learning rate's schedule"),
    (["SOLVER.STEPS", "(3, 2)"], "the learning rate's schedule"),
    (["SOLVER.BIAS_LR_FACTOR", "-2.0"], "the optimizer"),
    (["SOLVER.WEIGHT_DECAY_BIAS", "-1.0"], "the optimizer"),
    ([*COSINE, "SOLVER.BASE_LR_END", "9.0"], "the learning rate's schedule"),
    (["DATALOADER.SAMPLER_TRAIN", "RepeatFactorSampler"], "the training's loader"),
    (["DATALOADER.SAMPLER_TRAIN", "WeightedTrainingSampler"], "the training's loader"),
    (["DATALOADER.NUM_WORKERS", "-1"], "the training's loader"),
    (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "random"], "the training's loader"),
    (["INPUT.RANDOM_FLIP", "both"], "the training's loader"),
    ([*CROP, "INPUT.CROP.TYPE", "rel"], "the training's loader"),
    (["MODEL.LOAD_PROPOSALS", "True"], "the training's loader"),
    (["INPUT.FORMAT", "BRG"], "the training's input"),
    (["INPUT.MIN_SIZE_TRAIN", "()"], "the training's input"),
    ([*CROP, "INPUT.CROP.SIZE", "[2.0, 2.0]"], "the training's input"),
    ([*MASKS, "INPUT.MASK_FORMAT", "rle"], "the training's input"),
    (["MODEL.PIXEL_MEAN", "[1.0, 2.0]"], "a step of training"),
    (["MODEL.PIXEL_STD", "[0.0, 0.0, 0.0]"], "a step of training"),
    (["MODEL.RETINANET.BBOX_REG_LOSS_TYPE", "l2"], "a step of training"),
    ([*CLIP, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "-1.0"], "a step of training"),
    (["MODEL.RETINANET.BBOX_REG_WEIGHTS", "(1.0, 1.0)"], "a step of training"),
    # one norm for all levels, which training takes and its last iteration's PreciseBN does not
    ([*PRECISE_BN, "MODEL.RETINANET.NORM", "naiveSyncBN"], "a step of training"),
    (["MODEL.RETINANET.NUM_CONVS", "-1"], "the model"),
    (["MODEL.RETINANET.IOU_THRESHOLDS", "[0.5, 0.4]"], "the model"),
    (["MODEL.RETINANET.PRIOR_PROB", "2.0"], "the model"),
    (["MODEL.FPN.FUSE_TYPE", "max"], "the model"),
    (["MODEL.RESNETS.RES5_DILATION", "3"], "the model"),
    (["MODEL.RETINANET.TOPK_CANDIDATES_TEST", "-1"], "a detection"),
    (["MODEL.RETINANET.BBOX_REG_WEIGHTS", "(0.0, 0.0, 0.0, 0.0)"], "a detection"),
    # of two wrong ones, that of which the sentence is
    (["MODEL.RETINANET.NUM_CONVS", "-1", "MODEL.FPN.FUSE_TYPE", "max"], "the model"),
    (["SOLVER.WEIGHT_DECAY", "-1.0", "SOLVER.BASE_LR", "-0.1"], "the optimizer"),
    (["INPUT.MIN_SIZE_TRAIN", "()", "INPUT.FORMAT", "BRG"], "the training's input"),
    (["TEST.AUG.ENABLED", "True"], "test-time augmentation"),
]  # fmt: skip


@pytest.fixture
def cfg(tiny_yaml: Path, request: pytest.FixtureRequest) -> CfgNode:
    opts = getattr(request, "param", [])
    return load_config(str(tiny_yaml), ["MODEL.DEVICE", "cpu", *opts])


def rehearse(cfg: object, *, resume: bool = False, eval_only: bool = False) -> None:
    check_run(cfg, 1, resume=resume, eval_only=eval_only)


@pytest.mark.parametrize(("cfg", "part"), WRONG, indirect=["cfg"], ids=lambda x: str(x[-2:]))
def test_a_wrong_value_is_named_with_what_it_was_to_make(
    cfg: CfgNode, part: str, request: pytest.FixtureRequest
) -> None:
    *_, key, _ = request.node.callspec.params["cfg"]
    with pytest.raises(ConfigError) as error:
        rehearse(cfg)
    message = str(error.value)
    assert message.startswith(f"{part} cannot be made with {key} ")
    assert "\n" not in message and "(a few images)" not in message
    assert not Path(cfg.OUTPUT_DIR).exists()


@pytest.mark.parametrize(
    "cfg",
    [
        [],
        ["INPUT.MASK_FORMAT", "rle"],
        ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.MIN_SIZE_TRAIN", "(60, 64)"],
        ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
        ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"],
        ["MODEL.RETINANET.NORM", "naiveSyncBN"],
        [*PRECISE_BN, "MODEL.RETINANET.NORM", "BN"],
        [*CLIP, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"],
        ["SEED", "-1", "DATALOADER.NUM_WORKERS", "2"],
        ["TEST.BEST_METRIC", "bbox/APs"],
        [*TWO_SETS, "TEST.BEST_METRIC", "shapes_val/bbox/AP"],
        ["TEST.RECALL.ENABLED", "True", "TEST.BEST_METRIC", "recall/recall_small_fp1"],
        ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 0.0, 100.0]]"],
    ],
    indirect=True,
    ids=str,
)  # fmt: skip
def test_a_sound_config_passes_and_leaves_no_trace(cfg: CfgNode) -> None:
    before = cfg.dump(), torch.get_rng_state(), set(DatasetCatalog), set(Path().rglob("*"))
    rehearse(cfg)
    assert cfg.dump() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert set(DatasetCatalog) == before[2] and set(Path().rglob("*")) == before[3]


@pytest.mark.parametrize(
    ("cfg", "sentence"),
    [
        (["TEST.BEST_METRIC", "bbox/APsmall"], r"TEST\.BEST_METRIC is bbox/APsmall, .*bbox/APs\?"),
        (["TEST.BEST_METRIC", "AP"], r"TEST\.BEST_METRIC is AP, which is none of the metrics"),
        (["TEST.EXPECTED_RESULTS", "[['bbox', 'AP']]"], r"TEST\.EXPECTED_RESULTS must hold"),
        (["TEST.COCO_BACKEND", "fast"], r"TEST\.COCO_BACKEND"),
        (["INPUT.MIN_SIZE_TEST", "-3"], r"resizing to INPUT\.MIN_SIZE_TEST .* leaves nothing"),
        (
            ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 'x', 1]]"],
            r"TEST\.EXPECTED_RESULTS must hold",
        ),
        (["SEED", "4294967296"], r"SEED must be below 4294967295; got 4294967296"),
        (["OUTPUT_DIR", ""], r"OUTPUT_DIR must be the path of a folder; got ''"),
        (["SOLVER.IMS_PER_BATCH", "0"], r"SOLVER\.IMS_PER_BATCH must be at least 1; got 0"),
        (["SOLVER.REFERENCE_WORLD_SIZE", "-1"], r"SOLVER\.REFERENCE_WORLD_SIZE must be 0 .*got -1"),
        (["MODEL.RETINANET.NMS_THRESH_TEST", "2.0"], r"NMS_THRESH_TEST must be from 0 to 1; got 2"),
        (["TEST.DETECTIONS_PER_IMAGE", "0"], r"TEST\.DETECTIONS_PER_IMAGE must be at least 1"),
        (["MODEL.WEIGHTS", __file__], r"MODEL\.WEIGHTS: the weights .* cannot be read as a checkp"),
    ],
    indirect=["cfg"],
)
def test_what_evaluation_cannot_give_is_named(cfg: CfgNode, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        rehearse(cfg)


LAZY: list[tuple[list[str], str]] = [
    (["optimizer.lr=-0.1"], "the optimizer cannot be made with optimizer.lr -0.1: Invalid"),
    (["optimizer._target_=torch.optim.SDG"], "the optimizer cannot be made of optimizer"),
    (["lr_multiplier.warmup_method=cosine"], "made with lr_multiplier.warmup_method 'cos"),
    (["lr_multiplier.scheduler.milestones=[4,2]"], "the learning rate's schedule cannot be made"),
    (["train.log_period=0"], "train.log_period must be at least 1; got 0."),
    (["train.seed=4294967296"], "train.seed must be below 4294967295"),
    (["dataloader.train.num_workers=-1"], "the training's loader cannot be made with d"),
    (["dataloader.train.mapper.image_format=BRG"], "the training's input cannot be made of data"),
    ([*LAZY_MASKS, "dataloader.train.mapper.instance_mask_format=rle"], "the training's input"),
    (["dataloader.train.mapper.augmentations.0.short_edge_length=[]"], "the training's input"),
    (["dataloader.train.mapper.augmentations.0.sample_style=random"], "augmentations[0]"),
    (["model.pixel_mean=[1.0,2.0]"], "a step of training cannot be made of model"),
    (["model.head_in_features=[p3,p4,p5,p6,p9]"], "a step of training cannot be made with model."),
    (["model.backbone.bottom_up.stages.depth=20"], "the model cannot be made with model.backbone"),
    (["model.anchor_generator.strides=[8]"], "the model cannot be made"),
    (["model.test_topk_candidates=-1"], "a detection cannot be made with model.test_topk_candidat"),
    (["model.test_nms_thresh=1.5"], "model.test_nms_thresh must be from 0 to 1; got 1.5"),
    (["model.box_reg_loss_type=l2"], "cannot be made with model.box_reg_loss_type 'l2'"),
    (["train.init_checkpoint=" + __file__], "train.init_checkpoint: the weights "),
    (["train.best_metric=bbox/APsmall"], "train.best_metric is bbox/APsmall, which is none of the"),
]  # fmt: skip


@pytest.mark.parametrize(("opts", "sentence"), LAZY, ids=lambda x: x[0] if x else "")
def test_lazy_configs_are_rehearsed_too(
    tiny_lazy: Path, tmp_path: Path, opts: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as error:
        rehearse(load_lazy_config(str(tiny_lazy), [*opts, "train.device=cpu"]))
    message = str(error.value)
    assert sentence in message and "\n" not in message
    assert not (tmp_path / "run").exists()


def test_a_sound_lazy_config_passes(tiny_lazy: Path, tmp_path: Path) -> None:
    rehearse(load_lazy_config(str(tiny_lazy), ["train.device=cpu"]))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def run(tiny_yaml: Path, tmp_path: Path) -> Path:
    """A run of one iteration."""
    opts = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", "1", "TEST.EVAL_PERIOD", "0"]
    assert main(["--config-file", str(tiny_yaml), "--no-rehearsal", *opts]) == 0
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("opts", "sentence"),
    [
        (
            ["MODEL.RETINANET.NUM_CLASSES", "5", "DATASETS.TRAIN", "five", "DATASETS.TEST", "()"],
            "MODEL.RETINANET.NUM_CLASSES was 4 and is 5",
        ),
        (
            ["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.5, 1.0]]"],
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS was [[0.5, 1.0, 2.0]] and is [[0.5, 1.0]]",
        ),
        (["MODEL.BACKBONE.FREEZE_AT", "4"], "MODEL.BACKBONE.FREEZE_AT was 2 and is 4"),
    ],
)
def test_a_checkpoint_of_another_model_is_not_resumed(
    run: Path, tiny_yaml: Path, opts: list[str], sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    _register_five_classes()
    before = _written(run)
    capsys.readouterr()
    assert main(["--config-file", str(tiny_yaml), "--resume", "MODEL.DEVICE", "cpu", *opts]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith(f"--resume: the checkpoint {run}/model_final.pth does not fit the ")
    assert sentence in message
    assert _written(run) == before


def _written(run: Path) -> dict[Path, int]:
    """When each file was written, but the log, which the first run of this process holds open."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != "log.txt"}


def _register_five_classes() -> None:
    from detectron2.data import MetadataCatalog

    DatasetCatalog.register("five", lambda: DatasetCatalog.get("shapes_train"))
    MetadataCatalog.get("five").thing_classes = list("abcde")


def test_weights_of_another_number_of_classes_are_not_evaluated(
    run: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(run / "model_final.pth")["model"]
    state["head.cls_score.weight"] = state["head.cls_score.weight"][:18]
    torch.save({"model": state}, tmp_path / "other.pth")
    opts = [
        "MODEL.DEVICE",
        "cpu",
        "OUTPUT_DIR",
        "out",
        "MODEL.WEIGHTS",
        str(tmp_path / "other.pth"),
    ]
    capsys.readouterr()
    assert main(["--config-file", str(tiny_yaml), "--eval-only", *opts]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("--eval-only: the weights ")
    assert "head.cls_score.weight for example (18, 16, 3, 3) instead of (36, 16, 3, 3)" in message
    assert not Path("out").exists()


def test_the_rehearsal_can_be_left_out(
    tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opts = ["MODEL.DEVICE", "cpu", "SOLVER.WARMUP_METHOD", "cosine"]
    with pytest.raises(ValueError, match="Unknown warmup method: cosine"):
        main(["--config-file", str(tiny_yaml), "--no-rehearsal", *opts])
    assert (tmp_path / "run" / "config.yaml").is_file()


def test_what_passes_the_rehearsal_trains(tiny_yaml: Path, tmp_path: Path) -> None:
    opts = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", "2", "INPUT.FORMAT", "RGB"]
    opts += [*CLIP, *CROP, "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"]
    opts += ["TEST.BEST_METRIC", "bbox/AP50", "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]
    assert main(["--config-file", str(tiny_yaml), *opts]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["shapes_val"]["bbox"]["AP"] >= 0
