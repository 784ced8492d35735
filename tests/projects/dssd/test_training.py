import json
from pathlib import Path

import pytest
import torch

from scb_d2.cli import main as scb_d2
from scb_d2.engine.main import main as train_net
from tests.projects.common import (
    learn,
    losses_of,
    plain_multibox_loss,
    real_images,
    scene,
    share_found,
)

from .builders import CONFIGS, NARROW, toy_dssd

TINY = [
    "MODEL.DEVICE", "cpu",
    *map(str, NARROW),
    "DATASETS.SYNTHETIC.ROOT", "shapes",
    "DATASETS.SYNTHETIC.IMAGE_SIZE", "64",
    "DATASETS.SYNTHETIC.TRAIN_IMAGES", "4",
    "DATASETS.SYNTHETIC.VAL_IMAGES", "2",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
]  # fmt: skip


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


def test_uniform_weights_of_one_are_off_and_scb_is_not() -> None:
    batch = scene(161)
    results = []
    for opts in (
        (),
        ("MODEL.SCB.ENABLED", True, "MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1),
        ("MODEL.SCB.ENABLED", True),
    ):
        torch.manual_seed(0)
        model = toy_dssd(*NARROW, *opts)
        losses = losses_of(model, batch)
        sum(losses.values()).backward()
        results.append([*losses.values(), *(x.grad for x in model.parameters())])
    off, uniform, scb = results
    assert all(torch.equal(a, b) for a, b in zip(off, uniform, strict=True))
    assert not torch.allclose(off[0], scb[0]) and not torch.allclose(off[1], scb[1])
    assert all(x.isfinite().all() for x in scb)


@pytest.mark.parametrize("size", [(97, 203), (33, 500)])
def test_inference_at_any_size(size: tuple[int, int]) -> None:
    model = toy_dssd(*NARROW)
    learn(model, scene(161), 3)  # statistics of the batch norms, without which nothing is detected
    model.eval()
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image}])
    result = output["instances"]
    assert result.image_size == size and 0 < len(result) <= 200
    boxes = result.pred_boxes.tensor
    assert (boxes >= 0).all() and (boxes <= torch.tensor([*size[::-1]] * 2)).all()


@pytest.mark.parametrize("scb", [False, True])
def test_a_few_real_images_are_learnt(scb: bool, shared_data: Path) -> None:
    batch = real_images(shared_data, 161, count=4)
    model = toy_dssd("MODEL.SCB.ENABLED", scb)
    totals = learn(model, batch, 120)
    assert sum(totals[-5:]) < 0.3 * sum(totals[:5])
    assert share_found(model, batch) >= 0.8


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
    metrics = [json.loads(x) for x in (stage_1 / "metrics.json").read_text().splitlines()]
    logged = {key for line in metrics for key in line}
    assert {"loss_cls", "loss_box_reg", "scb/first/matches_p50"} <= logged
    assert "AP50" in json.loads((stage_1 / "results.json").read_text())["shapes_val"]["bbox"]


def test_match_report(tmp_path: Path) -> None:
    argv = ["matches", "--config-file", str(CONFIGS / "dssd_toy_scb.yaml")]
    assert scb_d2([*argv, "--output", str(tmp_path / "report"), *TINY]) == 0


def test_missing_stage_0_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--config-file", str(CONFIGS / "dssd_toy_stage1.yaml"), *TINY]
    assert train_net(argv) != 0
    assert "output/ssd_resnet_toy/model_final.pth" in capsys.readouterr().err
