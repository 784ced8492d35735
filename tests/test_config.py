import pickle

import detectron2.config
import pytest
import yaml
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator

from scb_d2 import ConfigError, ScaleBalancedMatcher, add_scb_config, get_cfg, validate_config
from scb_d2.modeling.from_config import build_matcher, weighting_from_config


@pytest.fixture
def cfg():
    return get_cfg()


def merge_from_yaml(cfg, tmp_path, key, value):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"MODEL": {"SCB": {key: value}}, "VERSION": 2}))
    cfg.merge_from_file(str(path))


def test_defaults_of_the_contract(cfg):
    assert dict(cfg.MODEL.SCB) == {
        "ENABLED": False,
        "STAGES": ("first",),
        "FORM": "information",
        "ALPHA": 1.0,
        "BETA": 3.0,
        "LOSSES": ("cls", "box"),
        "COUNT": "matched",
        "LOW_QUALITY": "stock",
        "NORMALIZER": "stock",
        "LOG_PERIOD": 20,
    }
    validate_config(cfg)


def test_keys_added_to_a_stock_config_are_checked_when_they_are_used():
    stock = detectron2.config.get_cfg()
    add_scb_config(stock)
    assert type(stock) is detectron2.config.CfgNode and stock.MODEL.SCB == get_cfg().MODEL.SCB
    stock.MODEL.SCB.BETA = -1.0
    with pytest.raises(ConfigError, match=r"MODEL\.SCB\.BETA must be a finite number above 0"):
        validate_config(stock)


def test_global_defaults_stay_stock(cfg):
    stock = detectron2.config.get_cfg()
    assert "SCB" not in stock.MODEL and type(stock) is detectron2.config.CfgNode


GOOD = [
    ("ENABLED", True, True),
    ("STAGES", ["first", "second"], ("first", "second")),
    ("STAGES", "second", ("second",)),
    ("STAGES", "('first', 'second')", ("first", "second")),
    ("FORM", "inverse_sqrt", "inverse_sqrt"),
    ("ALPHA", 2, 2.0),
    ("ALPHA", 0.5, 0.5),
    ("BETA", 1, 1.0),
    ("LOSSES", "cls", ("cls",)),
    ("LOSSES", ["box", "cls"], ("box", "cls")),
    ("COUNT", "sampled", "sampled"),
    ("LOW_QUALITY", "reassign", "reassign"),
    ("NORMALIZER", "mean_one", "mean_one"),
    ("LOG_PERIOD", 1, 1),
]


@pytest.mark.parametrize(("key", "given", "kept"), GOOD)
def test_right_values(cfg, tmp_path, key, given, kept):
    other = cfg.clone()
    merge_from_yaml(cfg, tmp_path, key, given)
    other.merge_from_list([f"MODEL.SCB.{key}", str(given)])
    for merged in (cfg, other):
        assert merged.MODEL.SCB[key] == kept and type(merged.MODEL.SCB[key]) is type(kept)
        validate_config(merged)


NUMBER = "must be a finite number above 0; got"
BAD = [
    ("ENABLED", "yes please", "MODEL.SCB.ENABLED must be True or False; got 'yes please'."),
    ("ENABLED", 1, "MODEL.SCB.ENABLED must be True or False; got 1."),
    (
        "STAGES",
        ["third"],
        "MODEL.SCB.STAGES must name one or more of first, second, each once; got ['third'].",
    ),
    ("STAGES", [], "MODEL.SCB.STAGES must name one or more of first, second, each once; got []."),
    ("STAGES", 1, "MODEL.SCB.STAGES must name one or more of first, second, each once; got 1."),
    (
        "STAGES",
        ["first", "first"],
        "MODEL.SCB.STAGES must name one or more of first, second, each once; "
        "got ['first', 'first'].",
    ),
    (
        "FORM",
        "log",
        "MODEL.SCB.FORM must be one of information, inverse_sqrt, inverse, inverse_log, uniform, "
        "log_area, inverse_sqrt_area, or MODULE.NAME of one that you register; "
        "got 'log'.",
    ),
    (
        "FORM",
        3,
        "MODEL.SCB.FORM must be one of information, inverse_sqrt, inverse, inverse_log, uniform, "
        "log_area, inverse_sqrt_area, or MODULE.NAME of one that you register; "
        "got 3.",
    ),
    ("ALPHA", 0, f"MODEL.SCB.ALPHA {NUMBER} 0."),
    ("ALPHA", "much", f"MODEL.SCB.ALPHA {NUMBER} 'much'."),
    ("ALPHA", True, f"MODEL.SCB.ALPHA {NUMBER} True."),
    ("ALPHA", [1.0], f"MODEL.SCB.ALPHA {NUMBER} [1.0]."),
    ("BETA", -3.0, f"MODEL.SCB.BETA {NUMBER} -3.0."),
    ("BETA", float("nan"), f"MODEL.SCB.BETA {NUMBER} nan."),
    ("BETA", float("inf"), f"MODEL.SCB.BETA {NUMBER} inf."),
    (
        "LOSSES",
        ["mask"],
        "MODEL.SCB.LOSSES must name one or more of cls, box, centerness, each once; got ['mask'].",
    ),
    ("COUNT", "all", "MODEL.SCB.COUNT must be one of matched, sampled; got 'all'."),
    ("LOW_QUALITY", "mmdet", "MODEL.SCB.LOW_QUALITY must be one of stock, reassign; got 'mmdet'."),
    ("NORMALIZER", "sum", "MODEL.SCB.NORMALIZER must be one of stock, mean_one; got 'sum'."),
    (
        "LOG_PERIOD",
        0,
        "MODEL.SCB.LOG_PERIOD must be a whole number of iterations above 0; got 0.",
    ),
    (
        "LOG_PERIOD",
        2.5,
        "MODEL.SCB.LOG_PERIOD must be a whole number of iterations above 0; got 2.5.",
    ),
    (
        "FROM",
        "information",
        "MODEL.SCB.FROM is not a key; there are ENABLED, STAGES, FORM, ALPHA, BETA, LOSSES, COUNT, "
        "LOW_QUALITY, NORMALIZER, LOG_PERIOD. Did you mean MODEL.SCB.FORM?",
    ),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_wrong_values(cfg, tmp_path, key, value, message):
    before = cfg.clone()
    with pytest.raises(ConfigError) as from_yaml:
        merge_from_yaml(cfg, tmp_path, key, value)
    with pytest.raises(ConfigError) as from_command_line:
        cfg.merge_from_list([f"MODEL.SCB.{key}", str(value)])
    assert str(from_yaml.value) == str(from_command_line.value) == message
    assert cfg == before


def test_wrong_values_set_as_attributes(cfg):
    cfg.MODEL.SCB.BETA = float("nan")
    with pytest.raises(ConfigError, match=f"MODEL.SCB.BETA {NUMBER} nan"):
        validate_config(cfg)


def test_block_that_is_no_block(cfg, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("MODEL: {SCB: true}\nVERSION: 2\n")
    with pytest.raises(ConfigError, match=r"MODEL.SCB must hold keys and values; got True"):
        cfg.merge_from_file(str(path))


def test_config_without_the_keys():
    with pytest.raises(ConfigError, match=r"call scb_d2\.add_scb_config\(cfg\) first"):
        validate_config(detectron2.config.get_cfg())


def test_adding_twice_keeps_values(cfg):
    cfg.MODEL.SCB.BETA = 2.0
    add_scb_config(cfg)
    assert cfg.MODEL.SCB.BETA == 2.0


def test_clone_dump_and_pickle_keep_checking(cfg):
    for copy in (cfg.clone(), pickle.loads(pickle.dumps(cfg))):
        assert copy == cfg
        with pytest.raises(ConfigError):
            copy.merge_from_list(["MODEL.SCB.ALPHA", "nan"])
    other = cfg.clone()
    other.merge_from_other_cfg(detectron2.config.CfgNode.load_cfg(cfg.dump()))
    assert other.MODEL.SCB == cfg.MODEL.SCB


def test_stock_merging_still_works(cfg, tmp_path):
    (tmp_path / "base.yaml").write_text("MODEL: {META_ARCHITECTURE: RetinaNet}\nVERSION: 2\n")
    (tmp_path / "child.yaml").write_text("_BASE_: base.yaml\nMODEL: {SCB: {ENABLED: True}}\n")
    cfg.merge_from_file(str(tmp_path / "child.yaml"))
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.1, "DATASETS.TRAIN", "('a',)"])
    assert cfg.MODEL.META_ARCHITECTURE == "RetinaNet" and cfg.MODEL.SCB.ENABLED
    assert (cfg.SOLVER.BASE_LR, cfg.DATASETS.TRAIN) == (0.1, ("a",))
    with pytest.raises(AssertionError, match="Non-existent key"):
        cfg.merge_from_list(["MODEL.SBC.ENABLED", True])


def test_what_a_detector_is_given(cfg):
    cfg.merge_from_list(["MODEL.SCB.ENABLED", True, "MODEL.SCB.BETA", 2, "SOLVER.MAX_ITER", 7])
    given = weighting_from_config(cfg, "first")
    weight, statistics = given["object_weight"], given["statistics"]
    assert (weight.form, weight.alpha, weight.beta) == ("information", 1.0, 2.0)
    assert (statistics.prefix, statistics.period, statistics.max_iter) == ("scb/first/", 20, 7)
    assert weighting_from_config(cfg, "second")["object_weight"] is None
    cfg.MODEL.SCB.ENABLED = False
    assert weighting_from_config(cfg, "first")["object_weight"] is None


@pytest.mark.parametrize(
    ("enabled", "stage", "rule"),
    [(True, "first", "reassign"), (True, "second", "stock"), (False, "first", "stock")],
)
def test_low_quality_rule_acts_where_the_loss_does(cfg, enabled, stage, rule):
    cfg.merge_from_list(["MODEL.SCB.ENABLED", enabled, "MODEL.SCB.LOW_QUALITY", "reassign"])
    cfg.MODEL.SCB.STAGES = (stage,)
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[1.0], strides=[8])
    matcher = build_matcher(cfg, [0.4, 0.5], [0, -1, 1], True, generator)
    assert isinstance(matcher, ScaleBalancedMatcher) and matcher.low_quality == rule
