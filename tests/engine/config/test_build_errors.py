"""Configs whose model cannot be built, and code of a user's own that is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from scb_d2 import ConfigError, build_model
from scb_d2.modeling import check_model
from scb_d2.modeling.build_errors import check_features
from tests.modeling.detectors import retinanet_config
from tests.modeling.rcnn import CASCADE, RES5, STANDARD, rcnn_config


@pytest.mark.parametrize(
    ("kind", "key", "value", "requirement"),
    [
        (RES5, "MODEL.ROI_HEADS.IN_FEATURES", ["res4"] * 2, "requires len(in_features) == 1."),
        (CASCADE, "MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (0.5, 0.6), "cascade_ious)."),
        (CASCADE, "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False, "(roi_heads/cascade_rcnn.py)"),
        (STANDARD, "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "X", "Unknown pooler type: X"),
        (STANDARD, "MODEL.ANCHOR_GENERATOR.OFFSET", 1.5, "found 1.5."),
        (STANDARD, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256, "Must set MODEL.RESNETS.RES2_OUT"),
    ],
)
def test_what_detectron2_requires_is_said(
    kind: str, key: str, value: object, requirement: str
) -> None:
    with pytest.raises(ConfigError) as error:
        build_model(rcnn_config(kind, key, value))
    message = str(error.value)
    assert message.startswith("the model of the config cannot be built: ")
    assert requirement in message
    assert "\n" not in message


def test_features_of_models_built_from_parts() -> None:
    one_stage, two_stage = build_model(retinanet_config()), build_model(rcnn_config(STANDARD))
    check_features(one_stage)
    check_features(two_stage)
    check_features(nn.Linear(1, 1))
    one_stage.head_in_features = ["p3", "p9"]
    two_stage.roi_heads.box_in_features = ["p2", "p8"]
    with pytest.raises(ConfigError) as error:
        check_features(one_stage)
    assert str(error.value) == (
        "model.head_in_features names the feature 'p9', but model.backbone gives "
        "p3, p4, p5, p6, p7."
    )
    with pytest.raises(ConfigError, match=r"^model\.roi_heads\.box_in_features names .* 'p8', but"):
        check_features(two_stage)


@pytest.fixture
def own_architecture() -> Iterator[str]:
    """A user's meta-architecture that needs real tensors and has a bug."""

    @META_ARCH_REGISTRY.register()
    class BuggyNet(nn.Module):
        def __init__(self, cfg: object) -> None:
            super().__init__()
            if torch.ones(1).item() == 1:
                raise KeyError("a bug")

    yield "BuggyNet"
    META_ARCH_REGISTRY._obj_map.pop("BuggyNet")


def test_errors_of_other_code_pass_as_they_are(own_architecture: str) -> None:
    cfg = retinanet_config("MODEL.META_ARCHITECTURE", own_architecture, enabled=False)
    check_model(cfg)
    with pytest.raises(KeyError, match="a bug") as error:
        build_model(cfg)
    assert not isinstance(error.value, ConfigError)


def test_the_check_needs_no_memory_and_changes_nothing() -> None:
    cfg = rcnn_config(STANDARD)
    before, state = cfg.dump(), torch.get_rng_state()
    check_model(cfg)
    assert cfg.dump() == before
    assert torch.equal(torch.get_rng_state(), state)
