from itertools import pairwise

import pytest

from scb_d2.engine.config.load import load_config

from .builders import CONFIGS, dssd_config

NAMES = [
    f"{detector}{size}_{data}{stage}"
    for size in (321, 513)
    for data in ("voc", "coco")
    for detector, stage in (("ssd", ""), ("dssd", ""), ("dssd", "_finetune"))
]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("[!B]*.yaml")), ids=lambda path: path.name)
def test_loads(path) -> None:
    cfg = dssd_config(path.name)
    assert cfg.MODEL.META_ARCHITECTURE == "DSSD"
    assert path.stem == cfg.OUTPUT_DIR.removeprefix("output/")
    assert path.stem.endswith("_scb") == cfg.MODEL.SCB.ENABLED
    assert cfg.INPUT.FORMAT == "BGR"


@pytest.mark.parametrize("name", NAMES)
def test_scb_differs_from_its_baseline_in_the_loss_only(name: str) -> None:
    baseline, scb = dssd_config(f"{name}.yaml"), dssd_config(f"{name}_scb.yaml")
    assert (scb.MODEL.SCB.FORM, scb.MODEL.SCB.ALPHA, scb.MODEL.SCB.BETA) == ("information", 1, 3)
    for cfg in (baseline, scb):
        cfg.defrost()
        cfg.MODEL.SCB.ENABLED, cfg.OUTPUT_DIR = False, ""
    assert baseline == scb
    assert (20 if "voc" in name else 80) == baseline.MODEL.SSD.NUM_CLASSES


@pytest.mark.parametrize("scb", ["", "_scb"])
@pytest.mark.parametrize("name", ["321_voc", "321_coco", "513_voc", "513_coco"])
def test_each_stage_starts_where_the_one_before_ended(name: str, scb: str) -> None:
    files = (f"ssd{name}{scb}", f"dssd{name}{scb}", f"dssd{name}_finetune{scb}")
    stages = [load_config(str(CONFIGS / f"{x}.yaml"), []) for x in files]
    assert stages[0].MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-101.pkl"
    for before, after in pairwise(stages):
        assert f"{before.OUTPUT_DIR}/model_final.pth" == after.MODEL.WEIGHTS
    assert [x.MODEL.DSSD.FREEZE for x in stages] == ["none", "encoder", "norm"]
    assert [x.SOLVER.BASE_LR for x in stages] == [1e-3, 1e-3, 1e-4]


@pytest.mark.parametrize(
    ("name", "batch", "steps", "max_iter"),
    [
        ("ssd321_voc", 32, (40_000, 60_000), 80_000),
        ("dssd321_voc", 32, (20_000,), 30_000),
        ("dssd321_voc_finetune", 32, (20_000,), 40_000),
        ("ssd513_coco", 40, (130_000, 210_000), 250_000),
        ("dssd513_coco", 32, (80_000, 130_000), 150_000),
    ],
)
def test_schedules(name: str, batch: int, steps: tuple[int, ...], max_iter: int) -> None:
    solver = dssd_config(f"{name}.yaml").SOLVER
    assert (solver.IMS_PER_BATCH, tuple(solver.STEPS), solver.MAX_ITER) == (batch, steps, max_iter)
