"""Which key is to blame for what Detectron2 cannot make, and code of a user's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from detectron2.config import CfgNode, instantiate
from detectron2.config import LazyCall as L
from detectron2.modeling import META_ARCH_REGISTRY
from omegaconf import OmegaConf
from torch import nn

from scb_d2 import ConfigError
from scb_d2.engine.config.explain import Unexplained, explained
from scb_d2.engine.config.rehearsal import _meta_model
from scb_d2.engine.config.sample import first_that_works
from tests.modeling.detectors import retinanet_config
from tests.modeling.rcnn import CASCADE, RES5, STANDARD, rcnn_config


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        (RES5, "MODEL.ROI_HEADS.IN_FEATURES", ["res4"] * 2, "AssertionError"),
        (CASCADE, "MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (0.5, 0.6), "AssertionError"),
        (STANDARD, "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "X", "Unknown pooler type: X"),
        (STANDARD, "MODEL.ANCHOR_GENERATOR.OFFSET", 1.5, "AssertionError: 1.5"),
    ],
)
def test_the_key_whose_default_would_do_is_named(
    kind: str, key: str, value: object, said: str
) -> None:
    cfg = rcnn_config(kind, key, value)
    with pytest.raises(ConfigError) as error:
        explained("the model", _meta_model, cfg, ("MODEL",))
    message = str(error.value)
    assert message.startswith(f"the model cannot be made with {key} {value!r}: {said}; ")
    assert "\n" not in message


def test_where_no_default_would_do_what_may_be_the_reason_is_named() -> None:
    cfg = retinanet_config("MODEL.RESNETS.OUT_FEATURES", ["res3", "res9"])
    with pytest.raises(Unexplained) as error:
        explained("the model", _meta_model, cfg, ("MODEL",))
    message = str(error.value)
    assert message.startswith(
        "the model cannot be made of the config's MODEL (MODEL.RESNETS.OUT_FEATURES or "
    )
    assert message.endswith(
        " may be the reason): Available children: stem, res2, res3; --no-rehearsal shows where."
    )


def test_the_key_that_holds_the_missing_name_is_found_among_defaults_too() -> None:
    cfg = retinanet_config("MODEL.BACKBONE.NAME", "build_resnet_backbone", enabled=False)
    with pytest.raises(ConfigError, match=r"with MODEL\.RETINANET\.IN_FEATURES .*gives res3, res4"):
        explained("the model", _meta_model, cfg, ("MODEL",))


def test_a_name_that_stands_in_several_keys_is_found_by_another_in_its_place() -> None:
    cfg = OmegaConf.create({"part": {"unused": "left", "used": ["right", "left"]}})

    def look_up(c: object) -> int:
        return {"right": 1}[c.part.used[1]]

    with pytest.raises(ConfigError, match=r"a part cannot be made with part\.used \['right', 'le"):
        explained("a part", look_up, cfg, ("part",))


def test_the_innermost_call_of_a_lazy_config_is_named() -> None:
    layers = [L(nn.Linear)(in_features=2, out_features=3), L(nn.Linear)(in_features=-2, bias=True)]
    cfg = OmegaConf.create({"model": L(nn.ModuleList)(modules=layers)}, flags={"allow_objects": 1})
    with pytest.raises(ConfigError) as error:
        explained("the model", lambda c: instantiate(c.model), cfg, ("model",))
    message = str(error.value)
    assert message.startswith(
        "the model cannot be made of model.modules[1] with model.modules[1].in_features -2, "
        "model.modules[1].bias True: "
    )
    assert "out_features" in message and "\n" not in message


def test_sentences_pass_and_values_too() -> None:
    def refuse(_: object) -> None:
        raise ConfigError("a sentence.")

    with pytest.raises(ConfigError, match=r"^a sentence\.$"):
        explained("the model", refuse, retinanet_config(), ("MODEL",))
    assert explained("the model", lambda _: 3, retinanet_config(), ("MODEL",)) == 3


@pytest.fixture
def own_architecture() -> Iterator[str]:
    """A user's meta-architecture that needs real tensors."""

    @META_ARCH_REGISTRY.register()
    class OwnNet(nn.Module):
        def __init__(self, cfg: object) -> None:
            super().__init__()
            if torch.ones(1).item() != cfg.MODEL.RETINANET.NUM_CLASSES:
                raise KeyError("a bug")

    yield "OwnNet"
    META_ARCH_REGISTRY._obj_map.pop("OwnNet")


def test_a_model_of_real_tensors_is_built_with_them(own_architecture: str) -> None:
    cfg = retinanet_config("MODEL.META_ARCHITECTURE", own_architecture, enabled=False)
    cfg.defrost()
    cfg.MODEL.RETINANET.NUM_CLASSES = 1
    assert type(_meta_model(cfg)).__name__ == own_architecture
    cfg.MODEL.RETINANET.NUM_CLASSES = 2
    with pytest.raises(ConfigError, match=r"KeyError: 'a bug'"):
        explained("the model", _meta_model, cfg, ("MODEL",))


def test_the_model_without_memory_changes_nothing() -> None:
    cfg = rcnn_config(STANDARD)
    before, state = cfg.dump(), torch.get_rng_state()
    assert all(parameter.is_meta for parameter in _meta_model(cfg).parameters())
    assert cfg.dump() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_trials_are_made_in_the_cheaper_way_that_fails_alike() -> None:
    cfg = retinanet_config("MODEL.RETINANET.NUM_CONVS", -1, "MODEL.FPN.OUT_CHANNELS", 8)
    calls = {"dear": 0, "cheap": 0, "other": 0}

    def make(kind: str, sentence: str = "no convolutions at all"):
        def build(c: CfgNode) -> None:
            calls[kind] += 1
            if c.MODEL.RETINANET.NUM_CONVS < 0:
                raise ValueError(sentence)

        return build

    said = r"NUM_CONVS -1: no convolutions at all; the default is 4\."
    with pytest.raises(ConfigError, match=said):
        explained("the model", make("dear"), cfg, ("MODEL",), make("cheap"))
    assert calls["dear"] == 1 and calls["cheap"] > 2
    with pytest.raises(ConfigError, match=said):
        explained("the model", make("dear"), cfg, ("MODEL",), make("other", "something else here"))
    assert calls["dear"] > 2 and calls["other"] == 1


def test_the_search_ends_at_a_value_that_the_error_tells_of() -> None:
    cfg = rcnn_config(STANDARD, "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "l2")
    tried = []

    def make(c: CfgNode) -> None:
        tried.append(c)
        if c.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE == "l2":
            raise ValueError("there is no loss 'l2' of boxes")

    with pytest.raises(ConfigError, match=r"with MODEL\.ROI_BOX_HEAD\.BBOX_REG_LOSS_TYPE 'l2'"):
        explained("a step", make, cfg, ("MODEL",))
    assert len(tried) == 2


def test_larger_inputs_are_tried_for_what_may_be_too_small() -> None:
    tried: list[str] = []

    def attempt(name: str, error: Exception | None = None):
        def run() -> str:
            tried.append(name)
            if error is not None:
                raise error
            return name

        return run

    too_small = attempt("small", ValueError("7 pixels are too few"))
    assert first_that_works(too_small, attempt("one"), attempt("two")) == "one"
    assert first_that_works(too_small, attempt("one", ValueError("one")), attempt("two")) == "two"
    for error in (FloatingPointError("inf"), ValueError("wrong")):
        tried.clear()
        with pytest.raises(type(error), match=str(error)):
            first_that_works(attempt("small", error), attempt("one", error), attempt("two"))
        assert tried == (["small"] if str(error) == "inf" else ["small", "one"])
