import subprocess
import sys

import pytest
import torch
import yaml
from detectron2.config import LazyConfig, get_cfg, instantiate

from scb_d2 import ConfigError, build_model
from scb_d2.cli import main
from scb_d2.data.mapper import CheckedDatasetMapper
from scb_d2.export import export_run
from tests.modeling.detectors import batch, retinanet_config
from tests.modeling.rcnn import CASCADE, RES5, STANDARD, rcnn_config

# Runs where scb_d2 cannot be imported: loads and detects in every folder given.
PLAIN = """
import sys
sys.modules["scb_d2"] = None
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model

class StrictCheckpointer(DetectionCheckpointer):
    def _load_model(self, checkpoint):
        result = super()._load_model(checkpoint)
        assert not (result.missing_keys or result.unexpected_keys or result.incorrect_shapes)
        return result

for folder in sys.argv[1:]:
    if "lazy" in folder.rsplit("/", 1)[1]:
        cfg = LazyConfig.load(folder + "/config.yaml")
        model, weights = instantiate(cfg.model), cfg.train.init_checkpoint
    else:
        cfg = get_cfg()
        cfg.merge_from_file(folder + "/config.yaml")
        model, weights = build_model(cfg), cfg.MODEL.WEIGHTS
    StrictCheckpointer(model).load(weights)
    images = [{"image": x} for x in torch.load(folder + "/images.pt")]
    with torch.no_grad():
        found = [x["instances"] for x in model.eval()(images)]
    found = [(x.pred_boxes.tensor, x.scores, x.pred_classes) for x in found]
    torch.save(found, folder + "/detections.pt")
assert not any(name.split(".")[0] == "scb_d2" for name, module in sys.modules.items() if module)
"""


def save_run(cfg, folder, model=None):
    """What train_net.py leaves of a run, without training."""
    folder.mkdir(parents=True)
    model = model or build_model(cfg)
    if "model" in cfg:  # a LazyConfig
        LazyConfig.save(cfg, str(folder / "config.yaml"))
    else:
        (folder / "config.yaml").write_text(cfg.dump())
    checkpoint = {"model": model.state_dict(), "optimizer": {}, "iteration": 7}
    torch.save(checkpoint, folder / "model_final.pth")
    return model


def detect(model, images):
    with torch.no_grad():
        found = [x["instances"] for x in model.eval()([{"image": x} for x in images])]
    return [(x.pred_boxes.tensor, x.scores, x.pred_classes) for x in found]


BOTH = ("MODEL.SCB.STAGES", ("first", "second"))
RUNS = {
    "retinanet": lambda: retinanet_config("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0),
    "faster": lambda: rcnn_config(STANDARD, *BOTH, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    "c4": lambda: rcnn_config(RES5, *BOTH, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    "cascade_named": lambda: rcnn_config(
        CASCADE,
        *BOTH,
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
        *("MODEL.ROI_HEADS.NAME", "ScaleBalancedCascadeROIHeads"),
        *("MODEL.PROPOSAL_GENERATOR.NAME", "ScaleBalancedRPN"),
    ),
}


def lazy_run(repo_root, name):
    cfg = LazyConfig.load(str(repo_root / "configs" / "lazy" / f"{name}_scb.py"))
    cfg.train.best_metric = "bbox/AP"
    cfg.train.tiles = {"size": 128}
    cfg.dataloader.train.mapper._target_ = CheckedDatasetMapper
    cfg.dataloader.train.mapper.pixel_range = [0, 4095]
    cfg.dataloader.test.mapper._target_ = CheckedDatasetMapper
    cfg.dataloader.test.mapper.pixel_range = "${...train.mapper.pixel_range}"
    stages = cfg.model.backbone.bottom_up.stages
    stages.depth = 18
    stages.pop("stride_in_1x1")  # basic blocks have no 1x1 convolution
    cfg.model.pixel_std = [1e3] * 3  # keeps features small without pretraining
    if name == "retinanet":
        cfg.model.backbone.top_block.in_channels = 512
        cfg.model.test_score_thresh = 0.0
    else:
        for predictor in cfg.model.roi_heads.box_predictors:
            predictor.test_score_thresh = 0.0
    return cfg


def test_exported_runs_detect_the_same_in_plain_detectron2(tmp_path, repo_root, capsys):
    images, expected = [x["image"] for x in batch()], {}
    for name, config in RUNS.items():
        out = tmp_path / name
        model = save_run(config(), tmp_path / "runs" / name)
        assert main(["export", str(tmp_path / "runs" / name), "--output", str(out)]) == 0
        text = (out / "config.yaml").read_text()
        assert not any(word in text for word in ("SCB", "ScaleBalanced", "SYNTHETIC"))
        assert set(yaml.safe_load(text)) <= set(get_cfg())
        assert list(torch.load(out / "model_final.pth")) == ["model"]
        expected[out] = detect(model, images)
    assert "Note" not in capsys.readouterr().out
    for name in ("retinanet", "cascade_rcnn"):
        out = tmp_path / f"{name}_lazy"
        cfg = lazy_run(repo_root, name)
        model = save_run(cfg, tmp_path / "runs" / out.name, instantiate(cfg.model))
        capsys.readouterr()
        assert main(["export", str(tmp_path / "runs" / out.name), "--output", str(out)]) == 0
        notes = capsys.readouterr().out
        assert "Note: dataloader.test.mapper.pixel_range [0, 4095] is left out" in notes
        assert "Note: train.tiles.size 128 is left out" in notes
        text = (out / "config.yaml").read_text()
        assert not any(word in text for word in ("scb_d2", "best_metric", "tiles", "pixel_range"))
        expected[out] = detect(model, images)
    for out in expected:
        torch.save(images, out / "images.pt")
    subprocess.run([sys.executable, "-W", "ignore", "-c", PLAIN, *map(str, expected)], check=True)
    for out, per_image in expected.items():
        for found, wanted in zip(torch.load(out / "detections.pt"), per_image, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True)), out.name
        assert sum(len(scores) for _, scores, _ in per_image) > 0, out.name


def test_what_an_export_cannot_do_is_told(tmp_path, capsys):
    cfg = retinanet_config("INPUT.PIXEL_RANGE", [0, 4095], "TEST.TILES.SIZE", 128)
    save_run(cfg, tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "Note: INPUT.PIXEL_RANGE [0, 4095] is left out, which Detectron2 does not have" in told
    assert "Note: TEST.TILES.SIZE 128 is left out" in told


def test_last_or_given_checkpoint(tmp_path):
    run = tmp_path / "run"
    save_run(retinanet_config(), run)
    (run / "model_final.pth").rename(run / "model_0000009.pth")
    (run / "last_checkpoint").write_text("model_0000009.pth")
    export_run(str(run), str(tmp_path / "last"))
    (run / "last_checkpoint").unlink()
    export_run(str(run), str(tmp_path / "given"), str(run / "model_0000009.pth"))
    with pytest.raises(ConfigError, match="has no checkpoint"):
        export_run(str(run), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def refused(capsys, *argv):
    assert main(["export", *map(str, argv)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_refusals_are_one_sentence_and_write_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    assert "does not exist" in refused(capsys, tmp_path / "absent", "--output", out)
    run = tmp_path / "run"
    run.mkdir()
    assert "has no config.yaml" in refused(capsys, run, "--output", out)
    cfg = retinanet_config()
    run.rmdir()
    save_run(cfg, run)
    assert "is the run itself" in refused(capsys, run, "--output", run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("NESTEROV: false", "NESTEROV: maybe"))
    told = refused(capsys, run, "--output", out)
    assert told.endswith("config.yaml: SOLVER.NESTEROV must be of type bool; got maybe (str).")
    (run / "config.yaml").write_text(text)
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, run, "--output", tmp_path / "file")
    below = tmp_path / "file" / "out"
    assert refused(capsys, run, "--output", below).endswith("cannot be written (Not a directory).")
    given = ["--weights", run / "config.yaml"]
    assert "cannot be read" in refused(capsys, run, "--output", out, *given)
    torch.save([], tmp_path / "list.pth")
    given = ["--weights", tmp_path / "list.pth"]
    assert "holds no model" in refused(capsys, run, "--output", out, *given)
    cfg.MODEL.RETINANET.NUM_CLASSES = 7
    (run / "config.yaml").write_text(cfg.dump())
    assert "head.cls_score.weight has the shape" in refused(capsys, run, "--output", out)
    cfg.MODEL.META_ARCHITECTURE = "SSD"
    (run / "config.yaml").write_text(cfg.dump())
    message = refused(capsys, run, "--output", out)
    assert "MODEL.META_ARCHITECTURE 'SSD' has no counterpart" in message
    assert not out.exists()
