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

from .builders import CONFIGS, toy_fssd

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.SSD.VGG_WIDTH", "0.02",
    "DATASETS.SYNTHETIC.ROOT", "shapes",
    "DATASETS.SYNTHETIC.IMAGE_SIZE", "64",
    "DATASETS.SYNTHETIC.TRAIN_IMAGES", "4",
    "DATASETS.SYNTHETIC.VAL_IMAGES", "2",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
]  # fmt: skip


def test_off_is_the_plain_multibox_loss() -> None:
    model = toy_fssd("MODEL.SSD.VGG_WIDTH", 0.02, "MODEL.SSD.VGG_NORM", "")
    batch = scene()
    losses = losses_of(model, batch)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        plain_multibox_loss(model, batch), rel=1e-4
    )


def test_uniform_weights_of_one_are_off_and_scb_is_not() -> None:
    batch = scene()
    results = []
    for opts in (
        (),
        ("MODEL.SCB.ENABLED", True, "MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1),
        ("MODEL.SCB.ENABLED", True),
    ):
        torch.manual_seed(0)
        model = toy_fssd("MODEL.SSD.VGG_WIDTH", 0.02, *opts)
        losses = losses_of(model, batch)
        sum(losses.values()).backward()
        results.append([*losses.values(), *(x.grad for x in model.parameters())])
    off, uniform, scb = results
    assert all(torch.equal(a, b) for a, b in zip(off, uniform, strict=True))
    assert not torch.allclose(off[0], scb[0]) and not torch.allclose(off[1], scb[1])
    assert all(x.isfinite().all() for x in scb)


@pytest.mark.parametrize("size", [(97, 203), (33, 500)])
def test_inference_at_any_size(size: tuple[int, int]) -> None:
    model = toy_fssd().eval()
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image}])
    result = output["instances"]
    assert result.image_size == size and 0 < len(result) <= 200
    boxes = result.pred_boxes.tensor
    assert (boxes >= 0).all() and (boxes <= torch.tensor([*size[::-1]] * 2)).all()


@pytest.mark.parametrize("scb", [False, True])
def test_a_few_real_images_are_learnt(scb: bool, shared_data: Path) -> None:
    batch = real_images(shared_data, 160, count=4)
    model = toy_fssd("MODEL.SCB.ENABLED", scb)
    totals = learn(model, batch, 90)
    assert sum(totals[-5:]) < 0.3 * sum(totals[:5])
    assert share_found(model, batch) >= 0.8


def test_train_evaluate_and_report(tmp_path: Path) -> None:
    output = tmp_path / "run"
    argv = ["--config-file", str(CONFIGS / "fssd_toy_scb.yaml"), *TINY]
    assert train_net([*argv, "SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(output)]) == 0
    metrics = [json.loads(x) for x in (output / "metrics.json").read_text().splitlines()]
    logged = {key for line in metrics for key in line}
    assert {"loss_cls", "loss_box_reg", "scb/first/matches_p50"} <= logged
    assert "AP50" in json.loads((output / "results.json").read_text())["shapes_val"]["bbox"]
    argv = ["matches", "--config-file", str(output / "config.yaml")]
    assert scb_d2([*argv, "--output", str(tmp_path / "report")]) == 0
