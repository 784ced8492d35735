"""Detectron2's detectors and the SSD on a network of timm: the loss, and every command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model as build_stock_model
from fvcore.nn import sigmoid_focal_loss

from scb_d2 import ConfigError
from scb_d2.cli import main as scb_d2
from scb_d2.data.blood_cells import BLOOD_CELLS
from scb_d2.engine.main import main as train_net
from scb_d2.utils.tensors import load_tensors
from tests.modeling.detectors import assert_same_training, train_step

from .builders import CONFIGS, DETECTORS, SMALL, batch, build_laptop, laptop_config

OURS = {
    "retinanet": ("MODEL.META_ARCHITECTURE", "ScaleBalancedRetinaNet"),
    "faster_rcnn": (
        *("MODEL.PROPOSAL_GENERATOR.NAME", "ScaleBalancedRPN"),
        *("MODEL.ROI_HEADS.NAME", "ScaleBalancedStandardROIHeads"),
    ),
    "ssd": (),
}
"""Our classes, which weight nothing while ``MODEL.SCB.ENABLED`` is False."""


@pytest.fixture(autouse=True)
def unjitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jitted focal loss differs in its last bits on a process's first call."""
    for module in ("scb_d2.loss.unreduced_losses", "detectron2.modeling.meta_arch.retinanet"):
        monkeypatch.setattr(f"{module}.sigmoid_focal_loss_jit", sigmoid_focal_loss)


@pytest.mark.parametrize("detector", DETECTORS)
def test_without_weighting_it_is_stock_bit_for_bit(detector: str) -> None:
    ours = build_laptop(detector, *OURS[detector])
    torch.manual_seed(0)
    stock = build_stock_model(laptop_config(detector))
    assert all(
        torch.equal(value, stock.state_dict()[name]) for name, value in ours.state_dict().items()
    )
    assert_same_training(ours, stock, batch())


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_loss_acts_and_trains_all_but_the_frozen_parts(detector: str) -> None:
    stock, scb = build_laptop(detector), build_laptop(detector, "MODEL.SCB.ENABLED", True)
    data = batch()
    losses, _, _ = train_step(stock, data)
    weighted, gradients, _ = train_step(scb, data)
    assert losses.keys() == weighted.keys()
    assert any(not torch.equal(weighted[name], value) for name, value in losses.items())
    trained = {name for name, x in scb.named_parameters() if x.requires_grad}
    assert set(gradients) == trained
    assert all(x.isfinite().all() for x in gradients.values())
    bottom_up = {x for x in trained if x.startswith("backbone.bottom_up.net.")}
    assert bottom_up and all("blocks." in x and "bn" not in x for x in bottom_up)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("size", [(64, 64), (50, 97)])
def test_inference_at_any_size(detector: str, size: tuple[int, int]) -> None:
    model = build_laptop(detector).eval()
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image}])
    assert output["instances"].image_size == size


def test_extra_levels_come_from_the_pyramid_or_the_network() -> None:
    channels = {
        feature: build_laptop(
            "retinanet", "MODEL.TIMM.TOP_BLOCK_IN_FEATURE", feature
        ).backbone.top_block.p6.in_channels
        for feature in ("p5", "c5")
    }
    assert channels == {"p5": 64, "c5": 320}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.TIMM.TOP_BLOCK_IN_FEATURE", "p4"], r"TOP_BLOCK_IN_FEATURE must be one of p5, c5"),
        (
            ["MODEL.FPN.IN_FEATURES", ["c2", "c3"]],
            r"FPN\.IN_FEATURES must name.*c3, c4, c5",
        ),
    ],
)
def test_keys_that_do_not_fit_are_refused(opts: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_laptop("retinanet", *opts)


# ---------------------------------------------------------------- commands


def run_options(output: Path, iterations: int = 2) -> list[str]:
    opts = [
        *SMALL,
        *("MODEL.FPN.OUT_CHANNELS", 64),
        *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MAX_SIZE_TRAIN", 64),
        *("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 64),
        *("DATASETS.TEST", "('few_cells',)", "DATASETS.TRAIN", "('few_cells',)"),
        *("DATASETS.REGISTER", [few_cells(output.parent)]),
        *("DATALOADER.NUM_WORKERS", 0),
        *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", iterations, "SOLVER.CHECKPOINT_PERIOD", 2),
        *("OUTPUT_DIR", output),
    ]
    return [str(x) for x in opts]


def few_cells(folder: Path) -> dict[str, str]:
    """Four of the embedded photographs as a data set of a user."""
    json_file, images = BLOOD_CELLS["blood_cells_test"]
    whole = json.loads(Path(json_file).read_text())
    whole["images"] = whole["images"][:4]
    kept = {x["id"] for x in whole["images"]}
    whole["annotations"] = [x for x in whole["annotations"] if x["image_id"] in kept]
    path = folder / "few_cells.json"
    path.write_text(json.dumps(whole))
    return {"NAME": "few_cells", "FORMAT": "coco", "JSON": str(path), "IMAGES": images}


@pytest.mark.parametrize("detector", DETECTORS)
def test_train_resume_predict_and_export(
    detector: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    config = str(CONFIGS / f"laptop_{detector}_scb.yaml")
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert train_net(["--config-file", config, *run_options(straight, 4)]) == 0
    again = ["--config-file", config, *run_options(resumed, 4)]
    assert train_net(again) == 0
    (resumed / "model_final.pth").unlink()
    (resumed / "model_0000003.pth").unlink()
    (resumed / "last_checkpoint").write_text("model_0000001.pth")
    assert train_net(["--resume", *again]) == 0
    ends = [load_tensors(str(x / "model_final.pth"))["model"] for x in (straight, resumed)]
    assert all(torch.equal(ends[1][name], value) for name, value in ends[0].items())
    assert "AP50" in json.loads((straight / "results.json").read_text())["few_cells"]["bbox"]

    run_config = str(straight / "config.yaml")
    image = next(Path(few_cells(tmp_path)["IMAGES"]).glob("*.jpg"))
    found = str(tmp_path / "found")
    assert scb_d2(["predict", "--config-file", run_config, str(image), "--output", found]) == 0
    assert scb_d2(["matches", "--config-file", run_config, "--output", str(tmp_path / "m")]) == 0
    assert scb_d2(["check", "--config-file", run_config]) == 0
    capsys.readouterr()
    assert scb_d2(["export", str(straight), "--output", str(tmp_path / "exported")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no counterpart in plain Detectron2" in error
    assert not (tmp_path / "exported").exists()


def test_two_processes_share_the_weights_and_a_batch(repo_root: Path, tmp_path: Path) -> None:
    config = str(CONFIGS / "laptop_retinanet_scb.yaml")
    words = ["--num-gpus", "2", "--config-file", config, *run_options(tmp_path / "run")]
    environment = {**os.environ, "FVCORE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(repo_root / "train_net.py"), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "AP50" in json.loads((tmp_path / "run" / "results.json").read_text())["few_cells"]["bbox"]
    )
    (cached,) = (tmp_path / "cache" / "timm").glob("*.pth")
    start = load_tensors(str(cached))["model"]
    end = load_tensors(str(tmp_path / "run" / "model_final.pth"))["model"]
    frozen = "net.conv_stem.weight"
    assert torch.equal(end[f"backbone.bottom_up.{frozen}"], start[frozen])
