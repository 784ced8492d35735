"""The stages of the training: what is frozen stays as it is, what is not changes."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from scb_d2.errors import ConfigError
from tests.projects.builders import training_input
from tests.projects.common import losses_of, scene

from .builders import NARROW, toy_dssd


def _trained(model: nn.Module) -> tuple[set[str], set[str]]:
    """Entries of the state dict that three steps changed, and convolutions that they did not.

    A bias or factor of a unit that never fires has no gradient; a kernel has its weight decay.
    """
    before = {name: x.clone() for name, x in model.state_dict().items()}
    parameters = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        sum(losses_of(model, scene(161)).values()).backward()
        optimizer.step()
    after = model.state_dict()
    changed = {name for name, x in before.items() if not torch.equal(x, after[name])}
    return changed, {name for name, x in before.items() if x.ndim == 4} - changed


def test_stage_0_trains_everything() -> None:
    model = toy_dssd(*NARROW, config="ssd_resnet_toy.yaml")
    changed, kept = _trained(model)
    assert not kept
    assert "backbone.trunk.stem.conv1.norm.running_mean" in changed


def test_stage_1_freezes_the_encoder() -> None:
    model = toy_dssd(*NARROW, config="dssd_toy_stage1.yaml")
    changed, kept = _trained(model)
    encoder = ("backbone.trunk.", "backbone.extras.")
    assert not any(name.startswith(encoder) for name in changed)
    assert all(name.startswith(encoder) for name in kept)
    for part in (model.backbone.trunk, model.backbone.extras):
        assert not any(isinstance(x, nn.BatchNorm2d) for x in part.modules())
        assert any(isinstance(x, FrozenBatchNorm2d) for x in part.modules())
        assert not any(x.requires_grad for x in part.parameters())
    assert any(name.endswith("norm.running_mean") for name in changed)


def test_stage_2_freezes_the_norms() -> None:
    changed, kept = _trained(toy_dssd(*NARROW, config="dssd_toy_finetune.yaml"))
    assert not any(".norm." in name for name in changed)
    assert not kept


def test_frozen_encoder_computes_as_in_evaluation() -> None:
    """The maps of the encoder do not depend on the rest of the batch or on the mode."""
    model = toy_dssd(*NARROW, config="dssd_toy_stage1.yaml").train()
    images = torch.randn(3, 3, 161, 161)
    with torch.no_grad():
        together = model.backbone.trunk(images)["res5"]
        alone = model.eval().backbone.trunk(images[:1])["res5"]
    assert torch.allclose(together[:1], alone, rtol=1e-3, atol=1e-3)


def test_stages_hand_over_their_weights() -> None:
    """Frozen batch norms have the names of trained ones, and predict the same from them."""
    stage_0 = toy_dssd(*NARROW, config="ssd_resnet_toy.yaml")
    _trained(stage_0)
    stage_1 = toy_dssd(*NARROW, config="dssd_toy_stage1.yaml")
    state = {k: v for k, v in stage_0.state_dict().items() if k.startswith("backbone.")}
    incompatible = stage_1.load_state_dict(state, strict=False)
    assert not incompatible.unexpected_keys
    missing = incompatible.missing_keys
    assert all(name.startswith(("backbone.decoder.", "head.", "anchor")) for name in missing)
    images = torch.randn(1, 3, 161, 161)
    with torch.no_grad():
        a = stage_0.eval().backbone.trunk(images)["res5"]
        b = stage_1.eval().backbone.trunk(images)["res5"]
        assert torch.allclose(a, b, atol=1e-4)
    stage_2 = toy_dssd(*NARROW, config="dssd_toy_finetune.yaml")
    stage_2.load_state_dict(stage_1.state_dict())
    with torch.no_grad():
        a, b = (m.eval().backbone(images)["d3"] for m in (stage_1, stage_2))
    assert torch.allclose(a, b, atol=1e-4)


def test_a_batch_norm_that_sees_all_processes_needs_one_image_each(monkeypatch) -> None:
    model = toy_dssd(*NARROW, "MODEL.DSSD.NORM", "naiveSyncBN")
    assert model._has_batch_norm()
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    assert not model._has_batch_norm()
    assert toy_dssd(*NARROW)._has_batch_norm()


def test_batch_norm_needs_two_images() -> None:
    batch = [training_input([(10, 10, 60, 60)], size=161)]
    with pytest.raises(ConfigError, match=r"at least 2 images.*SOLVER\.IMS_PER_BATCH"):
        losses_of(toy_dssd(*NARROW), batch)
    for opts in (
        ("MODEL.DSSD.FREEZE", "norm"),
        ("MODEL.DSSD.WIDTH", 0.25, "MODEL.DSSD.NORM", "GN"),
    ):
        model = toy_dssd("MODEL.RESNETS.WIDTH_PER_GROUP", 4, *opts)
        assert all(x.isfinite() for x in losses_of(model, batch).values())
