import pytest

from scb_d2 import ConfigError, build_model
from scb_d2.modeling import scale_balanced_config

from .detectors import retinanet_config


def test_unsupported_architecture():
    cfg = retinanet_config("MODEL.META_ARCHITECTURE", "SemanticSegmentor")
    with pytest.raises(ConfigError) as error:
        build_model(cfg)
    message = str(error.value)
    assert "'SemanticSegmentor'" in message and "RetinaNet" in message
    assert "supports" in message and "\n" not in message


def test_only_a_stage_that_is_not_there():
    with pytest.raises(ConfigError) as error:
        build_model(retinanet_config("MODEL.SCB.STAGES", "second"))
    message = str(error.value)
    assert message.startswith("MODEL.SCB.STAGES is ('second',)") and "first" in message


def test_missing_stage_beside_one_that_is_there(caplog):
    cfg = scale_balanced_config(retinanet_config("MODEL.SCB.STAGES", ("first", "second")))
    assert cfg.MODEL.META_ARCHITECTURE == "ScaleBalancedRetinaNet"
    assert "second" in caplog.text


def test_bad_value_set_as_attribute():
    cfg = retinanet_config()
    cfg.MODEL.SCB.FORM = "log"
    with pytest.raises(ConfigError, match=r"MODEL\.SCB\.FORM must be one of"):
        build_model(cfg)


def test_frozen_config_builds():
    cfg = retinanet_config()
    cfg.freeze()
    build_model(cfg)
    assert cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
