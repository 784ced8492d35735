from __future__ import annotations

import json
import logging
from pathlib import Path

import detectron2.config
import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.config import get_cfg

import scb_d2
from scb_d2 import ConfigError, UserError
from scb_d2.engine import device
from scb_d2.engine.config.load import load_config, merge_config

REPO_ROOT = Path(__file__).resolve().parents[3]


def test_values_and_overrides_are_merged(tiny_yaml: Path) -> None:
    cfg = load_config(str(tiny_yaml), ["SOLVER.MAX_ITER", "7", "MODEL.SCB.FORM", "inverse"])
    assert (cfg.SOLVER.MAX_ITER, cfg.MODEL.SCB.FORM) == (7, "inverse")
    assert cfg.MODEL.SCB.ENABLED
    assert cfg.is_frozen()


def test_integers_pass_for_floats_and_a_bare_string_for_a_tuple(tiny_yaml: Path) -> None:
    opts = ["SOLVER.BASE_LR", "1", "DATASETS.TEST", "shapes_train", "MODEL.SCB.STAGES", "first"]
    cfg = load_config(str(tiny_yaml), opts)
    assert isinstance(cfg.SOLVER.BASE_LR, float)
    assert cfg.DATASETS.TEST == ("shapes_train",)
    tiny_yaml.write_text("SOLVER: {BASE_LR: 1}\nDATASETS: {TEST: shapes_val}\n")
    cfg = load_config(str(tiny_yaml))
    assert isinstance(cfg.SOLVER.BASE_LR, float)
    assert cfg.DATASETS.TEST == ("shapes_val",)


def test_a_name_from_the_model_zoo_is_found() -> None:
    cfg = load_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml", ["MODEL.SCB.ENABLED", "True"])
    assert cfg.MODEL.META_ARCHITECTURE == "RetinaNet"


def test_the_baseline_config_is_the_model_zoos(repo_root: Path) -> None:
    ours = load_config(str(repo_root / "configs" / "retinanet.yaml"), ["MODEL.DEVICE", "cpu"])
    zoo = get_cfg()
    zoo.merge_from_file(model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml"))
    zoo.MODEL.DEVICE = "cpu"
    for group in ("MODEL", "INPUT", "SOLVER", "DATALOADER", "TEST"):
        stock = {key: value for key, value in ours[group].items() if key in zoo[group]}
        assert stock == dict(zoo[group]), group
    assert (ours.DATASETS.TRAIN, ours.DATASETS.TEST) == (zoo.DATASETS.TRAIN, zoo.DATASETS.TEST)


def test_the_scale_balanced_config_differs_in_its_block_only(repo_root: Path) -> None:
    baseline, ours = (
        load_config(str(repo_root / "configs" / f"{name}.yaml"), ["MODEL.SCB.ENABLED", "False"])
        for name in ("retinanet", "retinanet_scb")
    )
    assert ours == baseline


@pytest.mark.parametrize(
    ("opts", "sentence"),
    [
        (["MODEL.SBC.ENABLED", "True"], "MODEL.SBC.ENABLED is not a config key; did you mean"),
        (["SOLVER.BASE_LRR", "1"], "did you mean SOLVER.BASE_LR?"),
        (["solver.base_lr", "1"], "did you mean SOLVER.BASE_LR?"),
        (["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR must be of type float; got fast (str)"),
        (["SOLVER.MAX_ITER", "1.5"], "SOLVER.MAX_ITER must be of type int; got 1.5 (float)"),
        (["SOLVER", "1"], "SOLVER is a group of keys"),
        (["MODEL.DEVICE.cuda", "1"], "command line"),
        (["SOLVER.MAX_ITER"], "SOLVER.MAX_ITER has no value"),
        (["SOLVER.MAX_ITER", "3", "--resume"], "--resume must come before"),
        (["MODEL.SCB.FORM", "bogus"], "MODEL.SCB.FORM must be one of information"),
        (["MODEL.SCB.ALPHA", "nan"], "MODEL.SCB.ALPHA must be a finite number"),
        (["MODEL.SCB.ALFA", "1"], "MODEL.SCB.ALPHA"),
        (["MODEL.DEVICE", "gpu"], "MODEL.DEVICE must be a device"),
    ],
)
def test_wrong_overrides_get_one_sentence(tiny_yaml: Path, opts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(str(tiny_yaml), opts)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("MODEL: {SCB: {BETA: 0}}", "MODEL.SCB.BETA must be a finite number above 0"),
        ("MODEL: {SCB: 3}", "MODEL.SCB"),
        ("MODEL: {SCBB: {BETA: 1}}", "MODEL.SCBB is not a config key; did you mean MODEL.SCB?"),
        ("SOLVER: {MAX_ITER: many}", "SOLVER.MAX_ITER must be of type int; got many (str)"),
        ("SOLVER: {MAX_ITER: {A: 1}}", "SOLVER.MAX_ITER"),
        ("SOLVER: [1, 2]", "SOLVER is a group of keys"),
        ("SOLVER: {MAX_ITER: 3", "is not valid YAML"),
        (
            "MODEL:\n  WEIGHTS: a.pth\nMODEL:\n  SCB: {ENABLED: True}",
            "is not valid YAML: the key 'MODEL' of line 1 is given again in",
        ),
        ("_BASE_: nowhere.yaml", "nowhere.yaml"),
        ("_BASE_: wrong.yaml", "names itself as its _BASE_"),
        ("", "does not hold config keys"),
        ("just text", "does not hold config keys"),
        ("- 1", "does not hold config keys"),
        ("1: 2", "wrong.yaml"),
    ],
)
def test_wrong_files_get_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        load_config(str(path))
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "sentence"), [("", "--config-file"), ("no/such.yaml", "no/such.yaml does not exist")]
)
def test_a_missing_file_is_named(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_config(name)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match=r"model\.yaml"):
        load_config(str(path))


def test_without_a_gpu_the_cpu_is_used_and_said(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING):
        cfg = load_config(str(tiny_yaml), ["SOLVER.AMP.ENABLED", "True"])
    assert cfg.MODEL.DEVICE == "cpu"
    assert cfg.SOLVER.AMP.ENABLED is False
    assert [record.getMessage() for record in caplog.records] == [
        "MODEL.DEVICE is cuda, but there is no GPU: running on the CPU.",
        "SOLVER.AMP.ENABLED is True, but this CPU has no bfloat16: training in float32.",
    ]
    assert not list(tiny_yaml.parent.glob("run*"))


CONFIGS = sorted(
    str(path.relative_to(REPO_ROOT))
    for folder in ("configs", "projects/*/configs")
    for path in REPO_ROOT.glob(f"{folder}/*.yaml")
)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("ours", [True, False])
def test_python_loads_the_config_of_any_run(
    config: str, ours: bool, repo_root: Path, tmp_path: Path
) -> None:
    written = load_config(str(repo_root / config), ["MODEL.DEVICE", "cpu"])
    path = tmp_path / "config.yaml"
    path.write_text(written.dump())
    cfg = scb_d2.get_cfg() if ours else detectron2.config.get_cfg()
    scb_d2.add_scb_config(cfg)
    cfg.merge_from_file(str(path))
    assert json.dumps(cfg, sort_keys=True) == json.dumps(written, sort_keys=True)


def test_a_cpu_with_bfloat16_trains_in_it(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: True)
    with caplog.at_level(logging.WARNING):
        opts = ["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "True"]
        assert load_config(str(tiny_yaml), opts).SOLVER.AMP.ENABLED
    assert not caplog.records


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "cpu_name": "a"}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "arm_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False, "l2_cache_size": 1}, False),
    ],
)
def test_bfloat16_is_asked_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert device.cpu_has_bfloat16() is expected


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("OUTPUT_DIR", "str"),
        ("SEED", "int"),
        ("DATASETS.TRAIN", "tuple"),
        ("SOLVER.BASE_LR", "float"),
    ],
)
def test_null_is_no_value_of_any_type(key: str, kind: str, tmp_path: Path) -> None:
    group, _, name = key.rpartition(".")
    content: dict[str, object] = {name: None}
    for part in reversed(group.split(".") if group else []):
        content = {part: content}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    for opts, path in (([key, "None"], ""), ([], str(tmp_path / "a.yaml"))):
        with pytest.raises(ConfigError, match=rf"{key} must be of type {kind}; got null"):
            merge_config(path or None, opts)
