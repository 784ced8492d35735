"""Any override of any key gives a config, or one sentence; never another exception."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import DictConfig

from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import load_config
from scb_d2.engine.config.yaml_errors import key_names
from scb_d2.errors import UserError

_ASIDE = tempfile.TemporaryDirectory(prefix="scb_d2_")
_FOLDER = Path(_ASIDE.name)
YAML, LAZY = _FOLDER / "config.yaml", _FOLDER / "config.py"
LAZY_KEYS = ("train.seed", "train.amp", "train.amp.enabled", "train.ddp", "model", "model.a",
             "model._target_", "optimizer.lr", "dataloader.train", "dataloader.train.x",
             "lr_multiplier", "train", "nothing")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _configs() -> None:
    YAML.write_text("MODEL: {DEVICE: cpu}\n")
    LAZY.write_text(
        "model = dict(_target_='builtins.dict', a=1)\n"
        "optimizer = dict(lr=0.1, betas=[1, 2])\n"
        "lr_multiplier = dict(x=None)\n"
        "dataloader = dict(train=dict(x=3), evaluator=None)\n"
        "train = dict(max_iter=3, amp=dict(enabled=False))\n"
    )


KEYS = key_names(load_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml", ["MODEL.DEVICE", "cpu"]))
OURS = [key for key in KEYS if "SCB" in key or "REGISTER" in key or "RECALL" in key]
NAMES = st.sampled_from(KEYS) | st.sampled_from(OURS) | st.text(alphabet="AMSB._ 1-", max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats() | st.text(max_size=4),
    lambda x: (
        st.lists(x, max_size=3)
        | st.lists(x, max_size=3).map(tuple)
        | st.dictionaries(st.text(alphabet="NAME", max_size=4), x, max_size=2)
    ),
    max_leaves=5,
)
VALUES = (
    PLAIN.map(repr)
    | st.text(max_size=12)
    | st.text(alphabet="[](){}'\",:=-+.0123456789eE naNiftrue_~%#&*!|>\\\n$", max_size=14)
    | st.sampled_from(["nan", "inf", "-1", "1e999", "0x10", "()", "None", "'", "[1,", "lambda: 1"])
)


def _is_one_sentence(error: UserError) -> bool:
    return bool(str(error)) and "\n" not in str(error)


@example([("VERSION", "\n")], False)
@given(st.lists(st.tuples(NAMES, VALUES | PLAIN), min_size=1, max_size=3), st.booleans())
def test_overrides_of_yaml_configs(pairs: list[tuple[str, object]], odd: bool) -> None:
    opts = [word for pair in pairs for word in pair]
    try:
        cfg = load_config(str(YAML), opts[:-1] if odd else opts)
    except UserError as error:
        assert _is_one_sentence(error)
    else:
        assert isinstance(cfg, CfgNode)


@given(st.sampled_from(KEYS), PLAIN)
def test_values_in_yaml_files(key: str, value: object) -> None:
    for part in reversed(key.split(".")):
        value = {part: value}
    path = _FOLDER / "value.yaml"
    # JSON is YAML; what it cannot hold is written as text.
    path.write_text(json.dumps(value, default=str))
    try:
        cfg = load_config(str(path), ["MODEL.DEVICE", "cpu"])
    except UserError as error:
        assert _is_one_sentence(error)
    else:
        assert isinstance(cfg, CfgNode)


@example(["model.a="])
@example(["train=NAN"])
@example(["model=3"])
@example(["dataloader=3"])
@example(["lr_multiplier=${a}"])
@example(["train=???"])
@example(["dataloader.train=[]"])
@example(["model._target_=?", "model.a="])
@example(["model._target_=no.such", "model.a=1"])
@example(["model._target_=a..b", "model.a=1"])
@given(
    st.lists(
        st.builds(
            lambda key, equals, value: f"{key}{equals}{value}",
            st.sampled_from(LAZY_KEYS) | st.text(alphabet="train.+~@/ ", max_size=8),
            st.sampled_from(["=", "=", "=", "", "=="]),
            VALUES,
        ),
        max_size=2,
    )
)
def test_overrides_of_lazy_configs(opts: list[str]) -> None:
    try:
        cfg = load_lazy_config(str(LAZY), opts)
    except UserError as error:
        assert _is_one_sentence(error)
    else:
        assert isinstance(cfg, DictConfig)
