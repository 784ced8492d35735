"""The configs of a laptop's detectors, and the LazyConfig among them."""

import pytest
import torch
from detectron2.config import instantiate
from fvcore.nn import sigmoid_focal_loss

from scb_d2 import build_model
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import load_config
from tests.modeling.detectors import train_step

from .builders import CONFIGS, DETECTORS, batch, laptop_config

TWIN = str(CONFIGS / "lazy" / "laptop_retinanet_scb.py")


@pytest.mark.parametrize("detector", DETECTORS)
def test_scb_differs_from_its_baseline_in_the_loss_only(detector: str) -> None:
    scb, baseline = (
        load_config(str(CONFIGS / f"laptop_{detector}{arm}.yaml")).clone() for arm in ("_scb", "")
    )
    assert scb.MODEL.SCB.ENABLED and not baseline.MODEL.SCB.ENABLED
    for cfg in (scb, baseline):
        cfg.defrost()
        cfg.MODEL.SCB.ENABLED, cfg.OUTPUT_DIR = False, ""
        cfg.MODEL.SCB.LOW_QUALITY = "stock"  # the SSD family has one rule only
    assert scb == baseline


def test_twin_with_the_yaml_models_weights_has_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the un-jitted focal loss: the jitted one differs in bits on a process's first call."""
    monkeypatch.setattr("scb_d2.loss.unreduced_losses.sigmoid_focal_loss_jit", sigmoid_focal_loss)
    ours = build_model(laptop_config("retinanet_scb"))
    twin = instantiate(load_lazy_config(TWIN).model)
    twin.load_state_dict(ours.state_dict())
    data = batch()
    losses, gradients, scalars = train_step(ours, data)
    twin_losses, twin_gradients, twin_scalars = train_step(twin, data)
    assert losses.keys() == twin_losses.keys() and gradients.keys() == twin_gradients.keys()
    assert all(torch.equal(twin_losses[k], v) for k, v in losses.items())
    assert all(torch.equal(twin_gradients[k], v) for k, v in gradients.items())
    weighted = {k: v for k, v in scalars.items() if k.startswith("scb/")}
    assert weighted and {k: v for k, v in twin_scalars.items() if k in weighted} == weighted


def test_twin_has_the_yaml_configs_schedule() -> None:
    cfg = load_config(str(CONFIGS / "laptop_retinanet_scb.yaml"))
    twin = load_lazy_config(TWIN)
    assert twin.optimizer.lr == cfg.SOLVER.BASE_LR
    assert twin.train.max_iter == cfg.SOLVER.MAX_ITER
    assert twin.train.seed == cfg.SEED
    assert twin.train.init_checkpoint == cfg.MODEL.WEIGHTS
    assert twin.train.checkpointer.period == cfg.SOLVER.CHECKPOINT_PERIOD
    assert twin.train.output_dir == cfg.OUTPUT_DIR
    loader = twin.dataloader.train
    assert loader.total_batch_size == cfg.SOLVER.IMS_PER_BATCH
    assert loader.num_workers == cfg.DATALOADER.NUM_WORKERS
    assert (loader.dataset.names,) == cfg.DATASETS.TRAIN
    assert (twin.dataloader.test.dataset.names,) == cfg.DATASETS.TEST
    for part, key in (("train", "TRAIN"), ("test", "TEST")):
        mapper = twin.dataloader[part].mapper
        assert mapper.image_format == cfg.INPUT.FORMAT
        assert mapper.augmentations[0].max_size == cfg.INPUT[f"MAX_SIZE_{key}"]
        assert mapper.augmentations[0].short_edge_length in (
            cfg.INPUT.MIN_SIZE_TEST,
            *cfg.INPUT.MIN_SIZE_TRAIN,
        )
    schedule = instantiate(twin.lr_multiplier)
    warmup, total = cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.MAX_ITER
    assert schedule(0.0) == pytest.approx(cfg.SOLVER.WARMUP_FACTOR)
    assert schedule(warmup / total) == pytest.approx(0.9330, abs=1e-3)  # half a cosine, from 1 to 0
    assert schedule(0.5) == pytest.approx(0.5)
    assert not cfg.SOLVER.CLIP_GRADIENTS.ENABLED
