"""Any key of Detectron2 with an odd value of its type: rehearsed to its end, or one sentence."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from scb_d2.engine.config.keys import value_of
from scb_d2.engine.config.load import load_config
from scb_d2.engine.config.rehearsal import check_run
from scb_d2.engine.config.yaml_errors import key_names
from scb_d2.errors import UserError
from tests.faults.runs import tiny_config

ASIDE = tempfile.TemporaryDirectory(prefix="scb_d2_")
FOLDER = Path(ASIDE.name)
PATH = str(tiny_config(FOLDER, "run"))
CFG = load_config(PATH, ["MODEL.DEVICE", "cpu"])
GROUPS = (
    *("SOLVER.", "INPUT.", "DATALOADER.", "TEST.", "MODEL.RETINANET.", "MODEL.ANCHOR_GENERATOR."),
    *("MODEL.FPN.", "MODEL.RESNETS.", "MODEL.BACKBONE.", "MODEL.PIXEL"),
)
KEYS = [
    key
    for key in key_names(CFG)
    if key.startswith(GROUPS)
    and isinstance(value_of(CFG, key), (bool, int, float, str, list, tuple))
]
NUMBERS = {int: st.integers(-2, 3), float: st.sampled_from([-1.0, 0.0, 0.5, 2.0, float("inf")])}
ODD = {
    bool: st.booleans(),
    **NUMBERS,
    str: st.sampled_from(["", "x", "none", "norm", "range"]),
    list: st.lists(st.integers(-1, 3) | st.sampled_from(["p2", "x"]), max_size=3),
}


def _odd(key: str) -> st.SearchStrategy:
    kind = type(value_of(CFG, key))
    return ODD[list].map(tuple) if kind is tuple else ODD[kind]


@settings(max_examples=12)
@given(st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), _odd(key))))
def test_an_odd_value_is_rehearsed_or_refused(pair: tuple[str, object]) -> None:
    try:
        check_run(
            load_config(PATH, ["MODEL.DEVICE", "cpu", pair[0], pair[1]]),
            1,
            resume=False,
            eval_only=False,
        )
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    assert not (FOLDER / "run").exists()
