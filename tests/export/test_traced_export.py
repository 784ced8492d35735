"""RetinaNet and FCOS as ONNX and TorchScript files, run on photographs without Detectron2."""

import json

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.layers import ShapeSpec

from scb_d2 import build_model
from scb_d2.cli import main
from scb_d2.export import export_traced
from scb_d2.export.traced import _same_detections
from tests.modeling.detectors import retinanet_config
from tests.modeling.rcnn import STANDARD, rcnn_config

from .test_export import detect, refused, save_run


def fcos_run(repo_root, folder):
    cfg = LazyConfig.load(str(repo_root / "configs" / "lazy" / "fcos_scb.py"))
    stages = cfg.model.backbone.bottom_up.stages
    stages.depth = 18
    stages.pop("stride_in_1x1")  # basic blocks have no 1x1 convolution
    cfg.model.backbone.out_channels = cfg.model.backbone.top_block.in_channels = 32
    cfg.model.head.input_shape = [ShapeSpec(channels=32)] * 5
    cfg.model.head.conv_dims = [32]
    cfg.model.pixel_std = [1e3] * 3  # keeps features small without pretraining
    cfg.model.test_score_thresh = 0.05
    return save_run(cfg, folder, instantiate(cfg.model))


def retinanet_run(repo_root, folder):
    cfg = retinanet_config("MODEL.RETINANET.SCORE_THRESH_TEST", 0.009)
    return save_run(cfg, folder, build_model(cfg))


RUNS = {"retinanet": retinanet_run, "fcos": fcos_run}


def photographs(shared_data):
    """Float images of different sizes, and one on which nothing can be found."""
    from PIL import Image

    paths = sorted((shared_data / "tiny_coco").rglob("*.jpg"))[:3]
    assert len(paths) == 3
    images = [
        np.asarray(Image.open(path).convert("RGB").resize((160 + 32 * i, 128)))
        for i, path in enumerate(paths)
    ]
    return [torch.from_numpy(x.transpose(2, 0, 1).astype(np.float32).copy()) for x in images]


@pytest.mark.parametrize("file_format", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", RUNS)
def test_the_file_detects_what_the_run_does(name, file_format, repo_root, shared_data, tmp_path):
    if file_format == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    torch.manual_seed(0)
    model = RUNS[name](repo_root, tmp_path / "run")
    argv = ["--output", str(tmp_path / "out"), "--format", file_format]
    assert main(["export", str(tmp_path / "run"), *argv]) == 0
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert list(about["outputs"]) == ["boxes", "scores", "classes"]
    assert about["input"]["channels"] == "BGR" and about["num_classes"] == model.num_classes
    if file_format == "onnx":
        session = onnxruntime.InferenceSession(
            str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"]
        )

        def run(image):
            return map(torch.from_numpy, session.run(None, {"image": image.numpy()}))
    else:
        run = torch.jit.load(str(tmp_path / "out" / "model.ts"))
    found = 0
    for image in photographs(shared_data):
        for wanted, given in zip(detect(model, [image])[0], run(image), strict=True):
            torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-2, check_dtype=False)
            found += len(wanted)
    assert found > 0


def test_an_image_without_detections(repo_root, tmp_path):
    cfg = retinanet_config("MODEL.RETINANET.SCORE_THRESH_TEST", 0.9)
    save_run(cfg, tmp_path / "run")
    path, _ = export_traced(str(tmp_path / "run"), str(tmp_path / "out"), "torchscript")
    boxes, scores, classes = torch.jit.load(path)(torch.rand(3, 96, 96))
    assert boxes.shape == (0, 4) and len(scores) == len(classes) == 0


def test_refusals_are_one_sentence_and_write_nothing(tmp_path, capsys, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "out"
    save_run(rcnn_config(STANDARD), run)
    sentence = refused(capsys, run, "--output", out, "--format", "torchscript")
    assert "exports RetinaNet and FCOS" in sentence and "GeneralizedRCNN" in sentence
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    sentence = refused(capsys, run, "--output", out, "--format", "onnx")
    assert "needs the package onnx: pip install 'scb_d2[export]'" in sentence
    assert not out.exists()


def test_detections_of_one_score_may_change_places_and_others_not():
    boxes = torch.tensor([[0.0, 0, 9, 9], [5, 5, 20, 20], [1, 1, 4, 4]])
    scores, classes = torch.tensor([0.9, 0.5, 0.49]), torch.tensor([0, 1, 1])
    found = [boxes, scores, classes]
    assert _same_detections(tuple(found), (boxes + 5e-3, scores + 5e-5, classes))
    swapped = [boxes[[0, 2, 1]], torch.tensor([0.9, 0.50001, 0.49999]), classes]
    tied = [boxes, torch.tensor([0.9, 0.5, 0.5]), classes]
    assert _same_detections(tuple(tied), tuple(swapped))
    for i, other in enumerate((boxes + 0.02, scores + 2e-4, classes.flip(0))):
        assert not _same_detections(tuple(found), (*found[:i], other, *found[i + 1 :]))
    assert not _same_detections(tuple(found), (boxes[:2], scores[:2], classes[:2]))


@pytest.mark.parametrize("name", RUNS)
def test_a_detector_that_sees_nothing_is_compared_all_the_same(
    name, repo_root, tmp_path, monkeypatch
):
    compared = []

    def same(expected, found):
        compared.append(len(expected[1]))
        return _same_detections(expected, found)

    monkeypatch.setattr("scb_d2.export.traced._same_detections", same)
    torch.manual_seed(0)
    RUNS[name](repo_root, tmp_path / "run")
    opts = {"retinanet": ("SCORE_THRESH_TEST: 0.009", "SCORE_THRESH_TEST: 1.0")}
    opts["fcos"] = ("test_score_thresh: 0.05", "test_score_thresh: 1.0")
    config = tmp_path / "run" / "config.yaml"
    assert opts[name][0] in config.read_text()
    config.write_text(config.read_text().replace(*opts[name]))
    path, _ = export_traced(str(tmp_path / "run"), str(tmp_path / "out"), "torchscript")
    assert compared[0] + compared[1] >= 20 and compared[2:] == [0, 0]
    assert len(torch.jit.load(path)(torch.rand(3, 96, 96))[1]) == 0


def test_a_file_that_detects_otherwise_is_not_written(repo_root, tmp_path, capsys, monkeypatch):
    retinanet_run(repo_root, tmp_path / "run")
    other = (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0))
    monkeypatch.setattr(
        "scb_d2.export.traced._to_torchscript", lambda *_: (b"", lambda image: other)
    )
    argv = [tmp_path / "run", "--output", tmp_path / "out", "--format", "torchscript"]
    assert "detects otherwise than PyTorch" in refused(capsys, *argv)
    assert not (tmp_path / "out").exists()
