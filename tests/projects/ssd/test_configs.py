import pytest

from scb_d2.loss.object_weights import PAPER_FORMS

from .builders import CONFIGS, ssd_config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_loads(path) -> None:
    cfg = ssd_config(path.name)
    assert cfg.MODEL.META_ARCHITECTURE == "SSD"
    assert cfg.MODEL.SCB.LOW_QUALITY == "reassign"


@pytest.mark.parametrize("size", [300, 512])
@pytest.mark.parametrize("data", ["voc", "coco"])
def test_scb_differs_from_its_baseline_in_the_loss_only(size: int, data: str) -> None:
    baseline, scb = ssd_config(f"ssd{size}_{data}.yaml"), ssd_config(f"ssd{size}_{data}_scb.yaml")
    assert not baseline.MODEL.SCB.ENABLED and scb.MODEL.SCB.ENABLED
    assert (scb.MODEL.SCB.FORM, scb.MODEL.SCB.ALPHA, scb.MODEL.SCB.BETA) == ("information", 1, 3)
    for cfg in (baseline, scb):
        cfg.defrost()
        cfg.MODEL.SCB.ENABLED, cfg.OUTPUT_DIR = False, ""
    assert baseline == scb
    assert size == baseline.MODEL.SSD.IMAGE_SIZE
    assert {"voc": 20, "coco": 80}[data] == baseline.MODEL.SSD.NUM_CLASSES


@pytest.mark.parametrize("form", PAPER_FORMS)
def test_forms_of_table_1(form: str) -> None:
    cfg = ssd_config(f"ssd300_voc_{form}.yaml")
    assert cfg.MODEL.SCB.ENABLED and form == cfg.MODEL.SCB.FORM
    assert (1.0 if form == "uniform" else 3.0) == cfg.MODEL.SCB.BETA
    assert cfg.DATASETS.TRAIN == ("voc_2007_trainval", "voc_2012_trainval")


def test_schedule() -> None:
    solver = ssd_config("ssd300_coco.yaml").SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (32, 1e-3, 400_000)
    assert (solver.BIAS_LR_FACTOR, solver.WEIGHT_DECAY_BIAS) == (2.0, 0.0)
