"""Files from elsewhere run no code and lead nowhere."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from scb_d2.engine.checkpoint import SafeCheckpointer
from scb_d2.engine.config.load import load_config
from scb_d2.engine.config.safe_yaml import load_yaml
from scb_d2.engine.config.yaml_errors import read_yaml
from scb_d2.errors import ConfigError
from scb_d2.utils.pages import render_page
from scb_d2.utils.tensors import load_tensors


class _Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (Path.write_text, (Path("ran"), "code"))


def test_the_zoo_s_anchor_sizes_are_worked_out() -> None:
    cfg = load_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml", ["MODEL.DEVICE", "cpu"])
    expected = [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in [32, 64, 128, 256, 512]]
    assert expected == cfg.MODEL.ANCHOR_GENERATOR.SIZES


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch ran')",
        "open('ran', 'w')",
        "().__class__.__bases__[0].__subclasses__()",
        "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [16, 32, 64, 128, 256 ]]",
        "9 ** 9 ** 9",
        "(" * 500 + "1" + ")" * 500,
        "",
        ["x"],
        None,
    ],
)
def test_code_in_yaml_is_refused(expression: object, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"A: !!python/object/apply:eval [{expression!r}]\n")
    with pytest.raises(ConfigError, match=r"code in a config is not run, .* write the values that"):
        read_yaml(str(path))
    assert not Path("ran").exists()


def test_an_expression_without_text_is_refused() -> None:
    for text in ("A: !!python/object/apply:eval []", "A: !!python/object/apply:eval x"):
        with pytest.raises(yaml.YAMLError):
            load_yaml(text)


@pytest.mark.parametrize(
    "tag", ["object/apply:os.system", "object/new:os.system", "name:os.system", "module:os"]
)
@pytest.mark.parametrize("as_base", [False, True])
def test_python_tags_are_refused_in_a_base_too(tag: str, as_base: bool, tmp_path: Path) -> None:
    path = base = tmp_path / "base.yaml"
    base.write_text(f"A: !!python/{tag} ['touch ran']\n")
    if as_base:
        path = tmp_path / "config.yaml"
        path.write_text("_BASE_: base.yaml\nB: 1\n")
    with pytest.raises(ConfigError, match=f"could not determine a constructor .*{tag}"):
        read_yaml(str(path))
    assert not Path("ran").exists()


def test_a_pickle_in_a_checkpoint_is_named_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {}, "bomb": _Bomb()}, path)
    with pytest.raises(ConfigError) as error:
        load_tensors(path)
    assert str(error.value).startswith(
        f"the weights {path} are a Python pickle that holds getattr,"
    )
    for suffix in (".pth", ".pkl", ".pyth"):
        plain = tmp_path / f"plain{suffix}"
        plain.write_bytes(pickle.dumps({"model": _Bomb()}))
        with pytest.raises(ConfigError, match=r"pickle that holds|cannot be read as a checkpoint"):
            SafeCheckpointer(nn.Linear(1, 1)).load(str(plain))
    assert not Path("ran").exists()


def test_a_pickle_of_arrays_loads_as_in_detectron2(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    arrays = {"weight": np.full((1, 1), 3.0, np.float32), "bias": np.zeros(1, np.float32)}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=2))
    model = nn.Linear(1, 1)
    SafeCheckpointer(model).load(str(path))
    assert model.weight.item() == 3.0


@pytest.mark.parametrize("template", ["compare", "matches"])
def test_pages_escape_what_the_data_holds(template: str) -> None:
    name = "<script>alert(1)</script>"
    rows = [[name, name], [[name, name]]]
    values = {
        "compare": {"differences": name, "tables": [[name, *rows]], "rules": [name]}
        | {"pictures": [(name, name)]},
        "matches": {"warnings": [name], "facts": rows[1], "sizes": rows, "shares": rows}
        | {"rule": name, "suggestions": {"sentences": [name], "rows": rows[1], "then": name}}
        | {"figures": [(name, name)], "notes": [name]}
        | {"listings": [{"title": name, "note": name, "rows": rows[1]}]},
    }
    page = render_page(template, title=name, verdict=name, **values[template])
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") > 10
