"""One iteration and an evaluation of `train_net.py`, by a YAML config or its LazyConfig twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scb_d2.cli import main as command
from scb_d2.engine.main import main

KINDS = ("yaml", "lazy")
RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x"
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x"
KEYPOINT_RCNN = "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x"

_YAML: dict[str, Any] = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": "(8,)",
    "DATASETS.TRAIN": "case",
    "DATASETS.TEST": "case",
    "DATALOADER.NUM_WORKERS": 0,
    "INPUT.MIN_SIZE_TRAIN": "(64,)",
    "INPUT.MIN_SIZE_TEST": 64,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.MAX_ITER": 1,
    "SOLVER.STEPS": "()",
    "TEST.EVAL_PERIOD": 0,
    "OUTPUT_DIR": "run",
    "SEED": 1,
}

_LAZY = """
from detectron2.layers import ShapeSpec
from detectron2.model_zoo import get_config
from scb_d2.data import register_coco, register_voc

{register}
cfg = get_config({zoo!r})
model, optimizer, lr_multiplier = cfg.model, cfg.optimizer, cfg.lr_multiplier
dataloader, train = cfg.dataloader, cfg.train
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages.stride_in_1x1
model.backbone.out_channels = 8
if "roi_heads" in model:
    model.roi_heads.num_classes = {classes}
    model.proposal_generator.head.in_channels = 8
    heads = model.roi_heads
    heads.box_head.update(input_shape=ShapeSpec(channels=8, height=7, width=7), fc_dims=[16])
    heads.box_predictor.input_shape.channels = 16
    for head in ("mask_head", "keypoint_head"):
        if head in heads:
            shape = ShapeSpec(channels=8, width=14, height=14)
            heads[head].update(input_shape=shape, conv_dims=[8, 8])
else:
    model.num_classes = {classes}
    model.backbone.top_block.in_channels = 512
    model.head.update(conv_dims=[8], input_shape=[ShapeSpec(channels=8)] * 5)
dataloader.train.dataset.names = dataloader.test.dataset.names = "case"
dataloader.train.mapper.augmentations[0].short_edge_length = [64]
dataloader.test.mapper.augmentations[0].short_edge_length = 64
dataloader.train.update(num_workers=0, total_batch_size=2)
dataloader.test.num_workers = 0
optimizer.lr = 1e-4
train.update(init_checkpoint="", max_iter=1, eval_period=0, output_dir="run", seed=1, device="cpu")
"""


class Case(NamedTuple):
    """A data set and what of a model is needed for it.

    Attributes:
        entry: of ``DATASETS.REGISTER``, without a name.
        classes: number of classes.
        model: name of a config of Detectron2's model zoo.
        yaml: further keys and values.
        lazy: their twins, as overrides.
    """

    entry: dict[str, Any]
    classes: int
    model: str = RETINANET
    yaml: dict[str, Any] = {}
    lazy: tuple[str, ...] = ()


def command_line(kind: str, case: Case) -> list[str]:
    """``--config-file`` and overrides; writes ``case.py`` for a LazyConfig."""
    if kind == "lazy":
        zoo = f"{case.model}.py"
        text = _LAZY.format(register=_call(case.entry), zoo=zoo, classes=case.classes)
        Path("case.py").write_text(text)
        return ["--config-file", "case.py", *case.lazy]
    part = "RETINANET" if case.model == RETINANET else "ROI_HEADS"
    keys = {
        **_YAML,
        "DATASETS.REGISTER": [{"NAME": "case", **case.entry}],
        f"MODEL.{part}.NUM_CLASSES": case.classes,
        **case.yaml,
    }
    opts = [str(word) for pair in keys.items() for word in pair]
    return ["--config-file", f"{case.model}.yaml", *opts]


def _call(entry: dict[str, Any]) -> str:
    """The twin of an entry of ``DATASETS.REGISTER``."""
    if entry["FORMAT"] == "voc":
        return f"register_voc('case', {entry['DIR']!r}, {entry['SPLIT']!r}, {entry['CLASSES']!r})"
    points = entry.get("KEYPOINTS", []), entry.get("FLIP_PAIRS", [])
    return f"register_coco('case', {entry['JSON']!r}, {entry['IMAGES']!r}, *{points!r})"


def said_by_check(kind: str, case: Case, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status of ``scb-d2 check`` and what it says of the data."""
    argv = command_line(kind, case)
    capsys.readouterr()
    return command(["check", *argv]), capsys.readouterr().out


def outcome(
    kind: str, case: Case, capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[str, dict[str, Any]]:
    """What a run of one iteration and its evaluation says, and its results.

    ``scb-d2 check`` is asked too, and must find the same.

    Returns:
        The sentence on stderr, "" where the run ends well; and results by task.
    """
    argv = command_line(kind, case)
    capsys.readouterr()
    status = main([*argv[:2], *flags, *argv[2:]])
    error = capsys.readouterr().err.strip().splitlines()[-1] if status else ""
    checked, found = said_by_check(kind, case, capsys)
    assert (status, Path("run").exists(), checked) == ((1, False, 1) if error else (0, True, 0))
    assert error in found
    return error, {} if error else json.loads(Path("run/results.json").read_text())["case"]
