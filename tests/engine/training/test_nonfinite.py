"""Extreme inputs give finite losses, or a stop that says what happened and keeps the state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from scb_d2 import ScaleBalancedMatcher, build_model, object_weights
from scb_d2.engine.main import main
from scb_d2.loss.object_weights import PAPER_FORMS
from tests.faults.runs import tiny_config
from tests.modeling.detectors import image, retinanet_config, train_step


def _losses(data: list[dict], *opts: object) -> dict[str, float]:
    model = build_model(retinanet_config(*opts)).train()
    with torch.no_grad():
        for module in model.backbone.modules():  # of no pre-trained weights, so without measure
            if isinstance(module, torch.nn.Conv2d):
                module.weight *= 0.5
    losses, gradients, _ = train_step(model, data)
    assert all(torch.isfinite(grad).all() for grad in gradients.values())
    return {name: float(value) for name, value in losses.items()}


def _assert_finite(losses: dict[str, float]) -> None:
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values()), losses


@pytest.mark.parametrize("form", PAPER_FORMS)
def test_weights_of_any_number_of_matches_are_finite_and_positive(form: str) -> None:
    counts = torch.tensor([0, 1, 2, 1000, 2**24, 2**40, 2**62])
    weights = object_weights(counts, form=form)
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()


@pytest.mark.parametrize("form", PAPER_FORMS)
def test_very_many_matches(form: str) -> None:
    # Every anchor that touches the object is positive for it.
    opts = ["MODEL.RETINANET.IOU_THRESHOLDS", [1e-9, 1e-9], "MODEL.SCB.FORM", form]
    _assert_finite(_losses([image([[0, 0, 96, 96]])], *opts))


@pytest.mark.parametrize("normalizer", ["stock", "mean_one"])
@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
def test_no_matches_anywhere(normalizer: str, low_quality: str) -> None:
    opts = ["MODEL.SCB.NORMALIZER", normalizer, "MODEL.SCB.LOW_QUALITY", low_quality]
    _assert_finite(_losses([image([]), image([])], *opts))
    far = image([[2000, 2000, 2010, 2010]])  # overlaps no anchor
    _assert_finite(_losses([far, image([])], *opts))


def test_objects_below_the_threshold_without_low_quality_matches() -> None:
    labels = ScaleBalancedMatcher([0.4, 0.5], [0, -1, 1])(torch.full((3, 50), 0.1))[1]
    assert (labels == 0).all()


@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
def test_all_objects_tiny(low_quality: str) -> None:
    boxes = [[x, x, x + 0.01, x + 0.01] for x in range(5, 90, 5)]
    _assert_finite(_losses([image(boxes)], "MODEL.SCB.LOW_QUALITY", low_quality))


@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
def test_two_thousand_objects_in_an_image(low_quality: str) -> None:
    corners = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * 80
    boxes = torch.cat([corners, corners + 3 + corners.flip(1) / 8], dim=1).tolist()
    data = [image(boxes, [i % 5 for i in range(2000)])]
    _assert_finite(_losses(data, "MODEL.SCB.LOW_QUALITY", low_quality))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cpu_autocast(dtype: torch.dtype) -> None:
    data = [image([[10, 10, 22, 21], [20, 25, 90, 80]]), image([])]
    with torch.autocast("cpu", dtype=dtype):
        low = _losses(data)
    _assert_finite(low)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_float32_in_autocast_too(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16 if dtype == torch.float64 else dtype):
        weights = object_weights(torch.tensor([1, 7, 100_000]))
    assert weights.dtype == torch.float32
    assert torch.equal(weights, object_weights(torch.tensor([1, 7, 100_000])))


def test_a_learning_rate_too_high_stops_the_run_and_keeps_its_state(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, "diverged", SOLVER__BASE_LR=1e6, SOLVER__WARMUP_ITERS=0)
    assert main(["--config-file", str(config)]) == 1
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err
    sentence = captured.err.strip().splitlines()[-1]
    run = tmp_path / "diverged"
    (description,) = run.glob("nonfinite_*_rank0.json")
    content = json.loads(description.read_text())
    assert sentence.startswith(f"Training stopped at iteration {content['iteration']}: the loss is")
    for name in ("loss_cls", "loss_box_reg", *(x["file_name"] for x in content["images"])):
        assert name in sentence
    assert all(f"(image_id {x['image_id']})" in sentence for x in content["images"])
    assert all(x["num_objects"] == len(x["boxes"]) for x in content["images"])
    kept = torch.load(description.with_suffix(".pth"))
    assert {"model", "trainer", "iteration"} <= set(kept)
    tag = run / "last_checkpoint"
    assert not tag.exists() or not tag.read_text().startswith("nonfinite")
