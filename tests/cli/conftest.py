from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from scb_d2.cli import main
from scb_d2.engine.config.load import load_config
from scb_d2.modeling.build import build_model

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.FPN.OUT_CHANNELS", "64",
    "MODEL.RETINANET.NUM_CONVS", "1",
    "DATALOADER.NUM_WORKERS", "0",
    "DATASETS.SYNTHETIC.IMAGE_SIZE", "64",
    "DATASETS.SYNTHETIC.TRAIN_IMAGES", "4",
    "DATASETS.SYNTHETIC.VAL_IMAGES", "2",
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.CHECKPOINT_PERIOD", "1",
]  # fmt: skip


class CommandLine(NamedTuple):
    """What a command gave back."""

    status: int
    out: str
    err: str


@pytest.fixture
def scb_d2(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandLine]:
    """Run ``scb-d2`` in this process."""

    def run(*argv: str) -> CommandLine:
        capsys.readouterr()
        status = main([str(word) for word in argv])
        return CommandLine(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """A run's folder: config.yaml and model_final.pth of a network that finds something."""
    folder = tmp_path_factory.mktemp("run")
    root = ["DATASETS.SYNTHETIC.ROOT", str(folder / "shapes")]
    cfg = load_config(str(repo_root / "configs" / "shapes_retinanet_scb.yaml"), [*TINY, *root])
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.nn.init.constant_(model.head.cls_score.bias, 0.5)
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder
