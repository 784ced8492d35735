"""What is written of advice: the user's own overrides, keys not there yet, files that load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from torch import nn

from scb_d2.advise.advised_config import advised_config
from scb_d2.advise.finding import Change, Finding
from scb_d2.advise.lazy_settings import LazySettings
from scb_d2.advise.plan import plan_of
from scb_d2.advise.run import Advice
from scb_d2.advise.settings import YamlSettings, kind_of, load_settings
from scb_d2.compare.settings import CompareChoices
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import find_config_file, load_config
from scb_d2.errors import ConfigError
from scb_d2.evaluation.recall import RecallSettings
from scb_d2.evaluation.size_bins import SizeBins
from scb_d2.experiment.plan import load_plan
from tests.advise.scene import data, situation, squares

RETINANET = str(Path(__file__).resolve().parents[2] / "configs" / "retinanet.yaml")
FCOS = "COCO-Detection/fcos_R_50_FPN_1x.py"
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"


def finding(*changes, code="kind"):
    words = dict.fromkeys(("title", "measured", "why", "expected", "cost"), "")
    return Finding(code=code, concerns=1.0, changes=changes, **words)


def advice(settings, opts, *findings):
    scene = replace(situation(data(squares(1)), settings), opts=tuple(opts))
    return Advice(scene, findings, None, None)


def yaml_settings(opts, kind="retinanet"):
    return YamlSettings(load_config(RETINANET, list(opts)), kind, RETINANET)


def lazy_settings(name, opts=(), kind="fcos"):
    path = find_config_file(name)
    return LazySettings(load_lazy_config(path, list(opts)), kind, nn.Module(), path)


def test_an_arm_without_an_advice_keeps_the_users_own_value(tmp_path):
    """A rate given on the command line is what the advice is compared with, not the file's."""
    opts = ["SOLVER.BASE_LR", "0.5", "SOLVER.MAX_ITER", "7", "DATASETS.TRAIN", "('x',)"]
    advised = advice(
        yaml_settings(opts),
        opts,
        finding(Change("SOLVER.BASE_LR", 0.25, "")),
        finding(Change("MODEL.RETINANET.SCORE_THRESH_TEST", 0.01, "", evaluation=True), code="b"),
    )
    (tmp_path / "plan.yaml").write_text(plan_of(advised, str(tmp_path), str(tmp_path / "runs")))
    arms = load_plan(tmp_path / "plan.yaml").arms
    rates = {
        name: load_config(str(runs[0].config), runs[0].settings).SOLVER.BASE_LR
        for name, runs in arms.items()
    }
    assert rates["as_is"] == 0.5 and rates["kind"] == 0.25
    text = advised_config(advised, str(tmp_path))
    assert yaml.safe_load(text)["SOLVER"] == {"BASE_LR": 0.25, "MAX_ITER": 7}


def test_a_device_and_a_precision_stay_as_given_where_this_machine_lacks_them(tmp_path):
    opts = ["MODEL.DEVICE", "cuda:7", "SOLVER.AMP.ENABLED", "True"]
    settings = load_settings(RETINANET, opts, nn.Module())
    advised = advice(settings, opts, finding(Change("SOLVER.BASE_LR", 0.25, "")))
    text = yaml.safe_load(advised_config(advised, str(tmp_path)))
    assert text["MODEL"]["DEVICE"] == "cuda:7"
    assert text["SOLVER"]["AMP"] == {"ENABLED": True}


def test_all_advice_with_the_loss_takes_the_loss_as_it_is_advised(tmp_path):
    settings = yaml_settings(())
    loss = {"MODEL.SCB.ENABLED": True, "MODEL.SCB.LOW_QUALITY": "reassign"}
    advised = advice(
        settings,
        (),
        finding(Change("SOLVER.BASE_LR", 0.25, ""), code="rate"),
        finding(*settings.enable_scb("", "reassign"), code="scb"),
    )
    plan = yaml.safe_load(plan_of(advised, str(tmp_path), "runs"))
    rate = {"SOLVER.BASE_LR": 0.25}
    assert plan["arms"] == {"as_is": {}, "rate": rate, "scb": loss, "advised_scb": rate | loss}
    assert plan["comparisons"] == [["rate", "advised_scb"]]
    assert plan["compare"]["confirmatory"] == ["as_is", "rate"]


def test_the_plan_judges_the_smallest_objects_whatever_sizes_the_runs_measure(tmp_path):
    change = Change("SOLVER.BASE_LR", 0.25, "")
    plan = yaml.safe_load(plan_of(advice(yaml_settings(()), (), finding(change)), "here", "runs"))
    recall = RecallSettings(bins=SizeBins((100.0,)))
    assert CompareChoices(**plan["compare"]).settings(recall).metrics[0].name == "AP-0-100"


def test_a_lower_score_is_shared_by_the_arms_though_a_higher_one_was_given(tmp_path):
    opts = ["MODEL.RETINANET.SCORE_THRESH_TEST", "0.05"]
    change = Change("MODEL.RETINANET.SCORE_THRESH_TEST", 0.01, "", evaluation=True)
    advised = advice(yaml_settings(opts), opts, finding(change))
    plan = yaml.safe_load(plan_of(advised, str(tmp_path), "runs"))
    assert plan["overrides"] == {"MODEL.RETINANET.SCORE_THRESH_TEST": 0.01}


def test_a_lazy_key_whose_group_is_not_in_the_file_is_written_so_that_it_loads(tmp_path):
    opts = ["+train.tiles.size=128", "train.max_iter=9"]
    settings = lazy_settings(FCOS, opts)
    change = Change("optimizer.lr", 0.125, "a reason")
    path = tmp_path / "advised.py"
    path.write_text(advised_config(advice(settings, opts, finding(change)), str(tmp_path)))
    assert "# a reason\noptimizer.lr = 0.125" in path.read_text()
    cfg = load_lazy_config(str(path))
    assert (cfg.train.tiles.size, cfg.train.max_iter, cfg.optimizer.lr) == (128, 9, 0.125)


def test_a_key_that_the_command_line_takes_away_is_refused():
    settings = lazy_settings(FCOS)
    with pytest.raises(ConfigError, match=r"~model\.head\.norm"):
        advised_config(
            advice(settings, ["~model.head.norm"], finding(Change("optimizer.lr", 1.0, ""))), "."
        )


def test_the_loss_is_put_into_a_lazy_rpn():
    """Its class takes the weight by arguments of the classes that it builds on."""
    settings = lazy_settings(MASK_RCNN, kind="rcnn")
    changes = settings.enable_scb("", low_quality="reassign")
    cfg = load_lazy_config(settings.path, settings.overrides(changes))
    assert cfg.model.proposal_generator._target_ == "scb_d2.ScaleBalancedRPN"
    assert cfg.model.proposal_generator.anchor_matcher.low_quality == "reassign"
    misspelt = Change("model.proposal_generator.object_wait", 1, "")
    with pytest.raises(ConfigError, match=r"did you mean .*object_weight"):
        load_lazy_config(settings.path, settings.overrides([*changes, misspelt]))


def test_frozen_normalisation_of_a_lazy_config():
    settings = lazy_settings(FCOS)
    assert settings.frozen_norms() == [
        "model.backbone.bottom_up.stem.norm",
        "model.backbone.bottom_up.stages.norm",
    ]
    assert settings.find("freeze_at").key == "model.backbone.bottom_up.freeze_at"
    opts = ["model.backbone.bottom_up.stem.norm=BN", "model.backbone.bottom_up.stages.norm=BN"]
    assert not lazy_settings(FCOS, opts).frozen_norms()


class TestSettingsThatDoNotApply:
    def test_an_rpn_alone_has_no_second_stage_and_no_limit_on_detections(self):
        model = nn.Module()
        model.proposal_generator = nn.Module()
        assert kind_of(model) == "rpn"
        settings = yaml_settings([], kind_of(model))
        for name in ("detections_per_image", "coco_max_dets", "roi_batch", "nms_threshold"):
            assert settings.find(name) is None
        assert settings.find("post_nms_topk_test").key == "MODEL.RPN.POST_NMS_TOPK_TEST"
        model.roi_heads = nn.Module()
        assert kind_of(model) == "rcnn"

    def test_coco_limits_of_tests_by_vocs_rules(self):
        voc = yaml_settings(["DATASETS.TEST", "('voc_2007_test',)"])
        assert voc.find("coco_max_dets") is None
        both = yaml_settings(["DATASETS.TEST", "('voc_2007_test', 'coco_2017_val')"])
        assert both.find("coco_max_dets").value == 100

    def test_a_lazy_loader_of_ones_own(self):
        settings = lazy_settings(FCOS)
        assert settings.find("filter_empty").value is True
        assert settings.find("coco_max_dets").value == 100
        settings.cfg.dataloader.train.dataset._target_ = "my.own"
        settings.cfg.dataloader.evaluator._target_ = "my.Evaluator"
        assert settings.find("filter_empty") is None and settings.find("coco_max_dets") is None
