from pathlib import Path
from typing import Any

import pytest

from scb_d2.cli import main as scb_d2
from scb_d2.engine.main import main as train_net
from scb_d2.projects.ssd import SSD
from tests.projects.common import (
    DetectorOnSSD,
    check_trained,
    losses_of,
    plain_multibox_loss,
    scene,
    tiny_run,
)

from .builders import CONFIGS, toy_fssd

TINY = tiny_run("MODEL.SSD.VGG_WIDTH", "0.02")


def test_off_is_the_plain_multibox_loss() -> None:
    model = toy_fssd("MODEL.SSD.VGG_WIDTH", 0.02, "MODEL.SSD.VGG_NORM", "")
    batch = scene()
    losses = losses_of(model, batch)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        plain_multibox_loss(model, batch), rel=1e-4
    )


class TestFSSD(DetectorOnSSD):
    size, iterations = 160, 90

    def model(self, *opts: Any) -> SSD:
        return toy_fssd("MODEL.SSD.VGG_WIDTH", 0.02, *opts)

    def learnable(self, *opts: Any) -> SSD:
        return toy_fssd(*opts)

    def ready(self) -> SSD:
        return toy_fssd()


def test_train_evaluate_and_report(tmp_path: Path) -> None:
    output = tmp_path / "run"
    argv = ["--config-file", str(CONFIGS / "fssd_toy_scb.yaml"), *TINY]
    assert train_net([*argv, "OUTPUT_DIR", str(output)]) == 0
    check_trained(output)
    argv = ["matches", "--config-file", str(output / "config.yaml")]
    assert scb_d2([*argv, "--output", str(tmp_path / "report")]) == 0
