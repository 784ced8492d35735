"""LazyConfig twins train as their YAML configs do."""

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.structures import BitMasks

from scb_d2 import build_model
from scb_d2.engine.config.load import load_config

from .detectors import batch, train_step

MODELS = ["retinanet", "faster_rcnn", "cascade_rcnn", "mask_rcnn"]


def yaml_model(repo_root, name):
    opts = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
    return build_model(
        load_config(str(repo_root / "configs" / f"{name}_scb.yaml"), ["MODEL.DEVICE", "cpu", *opts])
    )


def lazy_config(repo_root, name):
    return LazyConfig.load(str(repo_root / "configs" / "lazy" / f"{name}_scb.py"))


def lazy_model(repo_root, name):
    cfg = lazy_config(repo_root, name)
    stages = cfg.model.backbone.bottom_up.stages
    stages.depth = 18
    stages.pop("stride_in_1x1")  # basic blocks have no 1x1 convolution
    if name == "retinanet":
        cfg.model.backbone.top_block.in_channels = 512
    return instantiate(cfg.model)


@pytest.mark.parametrize("name", MODELS)
def test_twin_with_the_yaml_models_weights_has_its_losses(repo_root, name):
    ours = yaml_model(repo_root, name)
    twin = lazy_model(repo_root, name)
    twin.load_state_dict(ours.state_dict())
    data = batch()
    for x in data:
        x["instances"].gt_masks = BitMasks(torch.ones(len(x["instances"]), 96, 96))
    losses, gradients, scalars = train_step(ours, data)
    twin_losses, twin_gradients, twin_scalars = train_step(twin, data)
    assert losses.keys() == twin_losses.keys() and gradients.keys() == twin_gradients.keys()
    actual = {**twin_losses, **twin_gradients}
    for key, value in {**losses, **gradients}.items():
        torch.testing.assert_close(actual[key], value, msg=key)
    weighted = {k: v for k, v in scalars.items() if k.startswith("scb/")}
    assert weighted and {k: v for k, v in twin_scalars.items() if k in weighted} == weighted


@pytest.mark.parametrize("name", MODELS)
def test_twin_has_the_yaml_configs_schedule(repo_root, name):
    cfg = load_config(str(repo_root / "configs" / f"{name}_scb.yaml"))
    twin = lazy_config(repo_root, name)
    assert twin.optimizer.lr == cfg.SOLVER.BASE_LR
    assert twin.train.max_iter == cfg.SOLVER.MAX_ITER
    assert twin.dataloader.train.total_batch_size == cfg.SOLVER.IMS_PER_BATCH
    assert (twin.dataloader.train.dataset.names,) == cfg.DATASETS.TRAIN
    assert (twin.dataloader.test.dataset.names,) == cfg.DATASETS.TEST
    assert twin.dataloader.train.mapper.use_instance_mask == cfg.MODEL.MASK_ON
    assert twin.train.init_checkpoint == cfg.MODEL.WEIGHTS
    assert list(twin.lr_multiplier.scheduler.milestones)[:2] == list(cfg.SOLVER.STEPS)


@pytest.mark.parametrize("name", MODELS)
def test_baseline_is_the_zoos_and_differs_in_scb_only(repo_root, name):
    ours = load_config(str(repo_root / "configs" / f"{name}_scb.yaml")).clone()
    baseline = load_config(str(repo_root / "configs" / f"{name}.yaml")).clone()
    assert ours.MODEL.SCB.ENABLED and not baseline.MODEL.SCB.ENABLED
    ours.defrost()
    ours.MODEL.SCB.ENABLED = False
    assert ours == baseline
    zoo = {
        "retinanet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
        "faster_rcnn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
        "cascade_rcnn": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
        "mask_rcnn": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    }
    stock = load_config(zoo[name]).clone()
    for cfg in (baseline, stock):
        cfg.defrost()
        if not baseline.MODEL.MASK_ON:
            cfg.MODEL.pop("ROI_MASK_HEAD")
            cfg.MODEL.MASK_ON = False
    assert baseline == stock


@pytest.mark.parametrize(
    ("name", "stages"),
    [("first", ("first",)), ("second", ("second",)), ("both", ("first", "second"))],
)
def test_stage_ablation_differs_in_stages_only(repo_root, name, stages):
    folder = repo_root / "configs"
    expected = load_config(str(folder / "faster_rcnn_scb.yaml")).clone()
    expected.defrost()
    expected.MODEL.SCB.STAGES = stages
    assert load_config(str(folder / f"faster_rcnn_scb_{name}.yaml")) == expected
