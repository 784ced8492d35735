from pathlib import Path
from typing import Any

import pytest
import torch

from scb_d2.cli import main as scb_d2
from scb_d2.engine.main import main as train_net
from scb_d2.projects.ssd import SSD
from tests.projects.common import (
    DetectorOnSSD,
    check_trained,
    learn,
    losses_of,
    plain_multibox_loss,
    scene,
    tiny_run,
)

from .builders import CONFIGS, NARROW, toy_dssd

TINY = tiny_run(*map(str, NARROW))


@pytest.mark.parametrize("config", ["dssd_toy.yaml", "ssd_resnet_toy.yaml"])
def test_off_is_the_plain_multibox_loss(config: str) -> None:
    frozen = ("MODEL.DSSD.FREEZE", "norm", "MODEL.RESNETS.NORM", "FrozenBN")
    model = toy_dssd(*NARROW, *frozen, config=config)
    for parameter in model.parameters():  # without norms the maps would grow beyond all bounds
        parameter.data.mul_(0.5)
    batch = scene(161)
    losses = losses_of(model, batch)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        plain_multibox_loss(model, batch), rel=1e-4
    )


class TestDSSD(DetectorOnSSD):
    size, iterations = 161, 120

    def model(self, *opts: Any) -> SSD:
        return toy_dssd(*NARROW, *opts)

    def learnable(self, *opts: Any) -> SSD:
        return toy_dssd(*opts)

    def ready(self) -> SSD:
        model = self.model()
        learn(model, scene(161), 3)  # statistics of the batch norms, without which it is silent
        return model


def _train(config: str, *opts: str) -> Path:
    output = Path("output") / config.removesuffix(".yaml")
    argv = ["--config-file", str(CONFIGS / config), *TINY, *opts]
    assert train_net([*argv, "OUTPUT_DIR", str(output)]) == 0
    return output


def test_the_three_stages_follow_each_other() -> None:
    """Each config finds the checkpoint of the one before; the encoder is taken over."""
    _train("ssd_resnet_toy.yaml")
    stage_1 = _train("dssd_toy_stage1.yaml", "MODEL.SCB.ENABLED", "True")
    _train("dssd_toy_finetune.yaml")
    before, after = (
        torch.load(folder / "model_final.pth", weights_only=False)["model"]
        for folder in (Path("output/ssd_resnet_toy"), stage_1)
    )
    encoder = [x for x in after if x.startswith(("backbone.trunk.", "backbone.extras."))]
    assert encoder and all(torch.equal(before[name], after[name]) for name in encoder)
    check_trained(stage_1)


def test_match_report(tmp_path: Path) -> None:
    argv = ["matches", "--config-file", str(CONFIGS / "dssd_toy_scb.yaml")]
    assert scb_d2([*argv, "--output", str(tmp_path / "report"), *TINY]) == 0


def test_missing_stage_0_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--config-file", str(CONFIGS / "dssd_toy_stage1.yaml"), *TINY]
    assert train_net(argv) != 0
    assert "output/ssd_resnet_toy/model_final.pth" in capsys.readouterr().err
