import pytest

from .builders import CONFIGS, fssd_config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_loads(path) -> None:
    cfg = fssd_config(path.name)
    assert cfg.MODEL.BACKBONE.NAME == "build_fssd_vgg_backbone"
    assert path.stem == cfg.OUTPUT_DIR.removeprefix("output/")
    assert path.stem.endswith("_scb") == cfg.MODEL.SCB.ENABLED


@pytest.mark.parametrize("name", ["fssd300_voc", "fssd300_coco", "fssd512_voc", "fssd512_coco"])
def test_scb_differs_from_its_baseline_in_the_loss_only(name: str) -> None:
    baseline, scb = fssd_config(f"{name}.yaml"), fssd_config(f"{name}_scb.yaml")
    assert (scb.MODEL.SCB.FORM, scb.MODEL.SCB.ALPHA, scb.MODEL.SCB.BETA) == ("information", 1, 3)
    for cfg in (baseline, scb):
        cfg.defrost()
        cfg.MODEL.SCB.ENABLED, cfg.OUTPUT_DIR = False, ""
    assert baseline == scb
    assert (20 if name.endswith("voc") else 80) == baseline.MODEL.SSD.NUM_CLASSES


@pytest.mark.parametrize(
    ("name", "steps", "max_iter"),
    [
        ("fssd300_voc", (80_000, 100_000), 120_000),
        ("fssd300_coco", (280_000, 360_000), 400_000),
        ("fssd512_voc", (80_000, 100_000), 120_000),
        ("fssd512_coco", (280_000, 320_000), 360_000),
    ],
)
def test_schedules(name: str, steps: tuple[int, ...], max_iter: int) -> None:
    solver = fssd_config(f"{name}.yaml").SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (32, 1e-3)
    assert (tuple(solver.STEPS), solver.MAX_ITER) == (steps, max_iter)
