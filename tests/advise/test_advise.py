"""`scb-d2 advise` on real configs: what it writes loads, trains and is a plan that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.evidence import collect
from experiments.tables import load_results
from scb_d2.advise.evidence import EVIDENCE_FILE, evidence_sentence
from scb_d2.advise.files import NOTHING
from scb_d2.cli import main
from scb_d2.data.registration import register_shapes
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import load_config
from scb_d2.engine.training.trainer import Trainer
from scb_d2.experiment.plan import load_plan

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Overrides that make the shapes few."""
    root = tmp_path_factory.mktemp("shapes")
    return [
        *("DATASETS.SYNTHETIC.ROOT", str(root)),
        *("DATASETS.SYNTHETIC.TRAIN_IMAGES", "40"),
        *("DATASETS.SYNTHETIC.VAL_IMAGES", "4"),
    ]


def advise(config, output, opts, *flags):
    command = ["advise", "--config-file", str(config), "--output", str(output), *flags, *opts]
    assert main(command) == 0
    return json.loads((output / "advice.json").read_text())


def train_one_step(config, folder):
    opts = ["SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 2, "OUTPUT_DIR", str(folder)]
    opts += ["DATALOADER.NUM_WORKERS", 0, "DATASETS.TEST", (), "SOLVER.STEPS", ()]
    trainer = Trainer(load_config(str(config), opts))
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert all(p.isfinite().all() for p in after.values())
    return any((after[name] != p).any() for name, p in before.items())


@pytest.mark.parametrize(
    ("config", "least_gain"),
    [("configs/shapes_retinanet.yaml", 0.2), ("projects/SSD/configs/ssd_toy.yaml", 0.05)],
)
def test_on_shapes_fitted_anchors_reach_more_objects_at_no_more_anchors(
    shapes, tmp_path, config, least_gain
):
    opts = list(shapes)
    if "retinanet" in config:  # Detectron2's own anchors, too large for these objects
        sizes = [[32 * 2**n * 2 ** (i / 3) for i in range(3)] for n in range(5)]
        opts += ["MODEL.ANCHOR_GENERATOR.SIZES", repr(sizes)]
        opts += ["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.5, 1.0, 2.0]]"]
    out = tmp_path / "advice"
    advice = advise(ROOT / config, out, opts)
    finding = next(f for f in advice["findings"] if f["code"] == "anchors")
    before, after = (
        float(p.split("%")[0]) for p in finding["expected"].split("recall ")[1].split(" -> ")[:2]
    )
    assert after >= before + 100 * least_gain
    now, then = (
        int(x.replace(",", ""))
        for x in finding["cost"].split(": ")[1].split(" anchors")[0].split(" -> ")
    )
    assert then <= now
    concerns = [f["concerns"] for f in advice["findings"]]
    assert concerns == sorted(concerns, reverse=True)

    advised = out / "advised.yaml"
    text = advised.read_text()
    assert text.splitlines()[1].startswith("_BASE_: ") and "# fitted to" in text
    cfg = load_config(str(advised))
    assert cfg.DATASETS.SYNTHETIC.TRAIN_IMAGES == 40  # what the command line said
    assert main(["check", "--config-file", str(advised)]) == 0
    page = (out / "advice.html").read_text()
    assert finding["title"] in page and "scb-d2 experiment plan.yaml" in page

    plan = load_plan(out / "plan.yaml")
    assert next(iter(plan.arms)) == "as_is" and {"anchors", "advised_scb"} <= set(plan.arms)
    # The toy SSD's only change but the loss is its anchors: they are all advice.
    together = "advised" if "advised" in plan.arms else "anchors"
    assert plan.confirmatory == ("as_is", together)
    assert (together, "advised_scb") in plan.comparisons
    for runs in plan.arms.values():
        load_config(str(runs[0].config), runs[0].settings)
    assert train_one_step(advised, tmp_path / "run")


def test_a_tuned_config_has_nothing_to_change(tmp_path, capsys):
    """The laptop's RetinaNet with the loss, on the blood cells that it is made for."""
    out = tmp_path / "advice"
    out.mkdir()
    (out / "plan.yaml").write_text("of advice before")
    advice = advise(ROOT / "configs/laptop_retinanet_scb.yaml", out, [])
    assert advice["findings"] == [] and NOTHING in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["advice.html", "advice.json"]
    assert NOTHING in (out / "advice.html").read_text()


def test_a_lazy_config_gets_a_lazy_config(shapes, tmp_path, capsys):
    register_shapes(shapes[1], 128, 8, 4, 0)
    base = tmp_path / "base.py"
    base.write_text(
        "from detectron2.model_zoo import get_config\n"
        "stock = get_config('COCO-Detection/retinanet_R_50_FPN_1x.py')\n"
        "dataloader, lr_multiplier, model, optimizer, train = (\n"
        "    stock[k] for k in ('dataloader', 'lr_multiplier', 'model', 'optimizer', 'train'))\n"
        "del stock\n"
        "dataloader.train.dataset.names = 'shapes_train'\n"
        "dataloader.test.dataset.names = 'shapes_val'\n"
        "dataloader.train.mapper.use_instance_mask = False\n"
        "dataloader.train.mapper.augmentations[0].short_edge_length = (128,)\n"
        "dataloader.test.mapper.augmentations[0].short_edge_length = 128\n"
        "model.num_classes = 4\n"
    )
    out = tmp_path / "advice"
    advice = advise(base, out, ["train.max_iter=50"])
    assert {"anchors", "input_size"} <= {f["code"] for f in advice["findings"]}
    plan = load_plan(out / "plan.yaml")
    assert next(iter(plan.arms)) == "as_is"
    assert {"anchors", "input_size", "advised", "advised_scb"} <= set(plan.arms)
    arms = {arm: load_lazy_config(str(r[0].config), r[0].settings) for arm, r in plan.arms.items()}
    assert all(cfg.train.max_iter == 50 and cfg.train.seed == 1 for cfg in arms.values())
    assert "object_weight" not in arms["advised"].model
    assert arms["advised_scb"].model.object_weight._target_ == "scb_d2.ScaleBalancedWeight"
    cfg = load_lazy_config(str(out / "advised.py"))
    assert arms["advised"].model.anchor_generator.sizes == cfg.model.anchor_generator.sizes
    assert cfg.train.max_iter == 50  # what the command line said
    assert cfg.dataloader.train.mapper.augmentations[0].short_edge_length[0] > 128
    assert cfg.model.head.num_anchors == len(cfg.model.anchor_generator.sizes[0]) * len(
        cfg.model.anchor_generator.aspect_ratios
    )
    again = advise(out / "advised.py", tmp_path / "again", [])
    assert "anchors" not in {f["code"] for f in again["findings"]}


def test_fcos_has_no_anchors_to_fit_and_points_to_balance(shapes, tmp_path):
    register_shapes(shapes[1], 128, 40, 4, 0)
    base = tmp_path / "base.py"
    base.write_text(
        "from detectron2.model_zoo import get_config\n"
        "_stock = get_config('COCO-Detection/fcos_R_50_FPN_1x.py')\n"
        "dataloader, lr_multiplier, model, optimizer, train = (\n"
        "    _stock[k] for k in ('dataloader', 'lr_multiplier', 'model', 'optimizer', 'train'))\n"
        "dataloader.train.dataset.names = dataloader.test.dataset.names = 'shapes_train'\n"
        "dataloader.train.mapper.augmentations[0].short_edge_length = (256,)\n"
        "model.num_classes = 4\n"
    )
    out = tmp_path / "advice"
    advice = advise(base, out, ["train.max_iter=50"])
    codes = {f["code"] for f in advice["findings"]}
    assert "scb" in codes and "anchors" not in codes
    assert load_lazy_config(str(out / "advised.py")).model._target_ == "scb_d2.ScaleBalancedFCOS"


def test_the_config_is_not_overwritten(shapes, tmp_path, capsys):
    (tmp_path / "advised.yaml").write_text(f"_BASE_: {ROOT / 'configs/shapes_retinanet.yaml'}\n")
    command = ["advise", "--config-file", str(tmp_path / "advised.yaml"), "--output", str(tmp_path)]
    assert main([*command, *shapes]) == 1
    assert "the config that is advised about" in capsys.readouterr().err


def test_a_key_without_a_value_is_named(tmp_path, capsys):
    config = str(ROOT / "configs/shapes_retinanet.yaml")
    command = ["advise", "--config-file", config, "--output", str(tmp_path / "a")]
    assert main([*command, "SOLVER.BASE_LR"]) == 1
    assert "SOLVER.BASE_LR has no value" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_the_evidence_is_that_of_the_committed_results():
    found = json.loads(EVIDENCE_FILE.read_text())
    assert found == collect(load_results()), "run python -m experiments.evidence"


def test_the_evidence_tells_pretrained_networks_from_those_trained_from_scratch():
    told = evidence_sentence("retinanet")
    assert told.index("pretrained: ") < told.index("150 iterations") < told.index("from scratch: ")
    assert told.index("from scratch: ") < told.index("900 iterations") < told.index("shapes")


def test_experiments_of_the_same_data_and_length_are_told_apart():
    told = evidence_sentence("retinanet")
    parts = [part.partition(" seeds: ")[0] for part in told.partition("), ")[2].split("; ")]
    assert len(parts) == len(set(parts)) > 4
    assert "laptop_retinanet_bccd_240)" in told and "constant weight" in told


def test_a_detector_without_an_experiment_is_told_so():
    assert "No experiment" in evidence_sentence("other")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes"), [("potholes", 1), ("deeppcb", 6)], ids=["potholes", "deeppcb"]
)
def test_on_real_data_fitted_anchors_reach_more_objects(tmp_path, name, classes):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs {name} in ../shared/data")
    folder = SHARED / name
    entry = {"FORMAT": "coco", "JSON": str(folder / "test.json"), "IMAGES": str(folder / "images")}
    opts = ["DATASETS.REGISTER", repr([{"NAME": f"{name}_advise", **entry}])]
    opts += ["DATASETS.TRAIN", f"('{name}_advise',)", "DATASETS.TEST", "()"]
    opts += ["MODEL.RETINANET.NUM_CLASSES", str(classes), "INPUT.MIN_SIZE_TRAIN", "(320,)"]
    out = tmp_path / "advice"
    advice = advise(ROOT / "configs/retinanet.yaml", out, opts, "--max-images", "40")
    recall = advice["best_possible_recall"]
    assert recall["then"]["all"] > recall["now"]["all"] + 0.2
    assert (out / "plan.yaml").exists()


@pytest.mark.parametrize("name", ["deeppcb", "potholes"])
def test_the_committed_plan_is_valid(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # plans name configs from there
    plan = load_plan(ROOT / f"experiments/advice/{name}.yaml")
    assert list(plan.arms) == ["as_is", "advised", "advised_scb"]
    for runs in plan.arms.values():
        cfg = load_config(str(runs[0].config), runs[0].settings)
        assert len({len(sizes) for sizes in cfg.MODEL.ANCHOR_GENERATOR.SIZES}) == 1
