from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.structures import Instances
from PIL import Image

from scb_d2.data import images
from scb_d2.engine.config.lazy import load_lazy_config
from scb_d2.engine.config.load import load_config
from scb_d2.modeling.build import build_model
from scb_d2.predict.categories import Categories
from scb_d2.predict.images import read_image
from scb_d2.predict.predictor import Predictor


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40), **kwargs) -> Path:
    """A picture with some structure, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(noise[..., 0].astype(np.uint16) * 16).save(path, **kwargs)
    elif mode == "F":
        Image.fromarray(noise[..., 0].astype(np.float32) / 255).save(path, **kwargs)
    else:
        Image.fromarray(noise, "RGBA").convert(mode).save(path, **kwargs)
    return path


@pytest.fixture
def predict(scb_d2, untrained_run: Path, tmp_path: Path):
    def run(*words: object, output: Path = tmp_path / "out"):
        config = untrained_run / "config.yaml"
        return scb_d2("predict", "--config-file", config, "--output", output, *words)

    return run


def read_results(folder: Path) -> list[dict]:
    return json.loads((folder / "predictions.json").read_text())


def test_pictures_and_coco_results_come_out(predict, tmp_path: Path) -> None:
    image = save(tmp_path / "in" / "a.png", size=(90, 50))
    done = predict(image, "--score-threshold", 0.6)
    assert (done.status, done.err) == (0, "")
    results = read_results(tmp_path / "out")
    assert results, "the test's network should find something"
    for result in results:
        assert result["file_name"] == str(image)
        assert result["image_id"] == 1
        assert result["score"] >= 0.6
        assert result["category_name"] in ("circle", "square", "triangle", "cross")
        assert 1 <= result["category_id"] <= 4
        x, y, width, height = result["bbox"]
        assert x >= -1e-3 and y >= -1e-3 and x + width <= 90.01 and y + height <= 50.01
    picture = Image.open(tmp_path / "out" / "a.jpg")
    assert max(picture.size) >= 640, "small images are enlarged"
    assert f"{len(results)} detections" in done.out


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "I;16", "F"])
def test_any_kind_of_image_is_read(predict, tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / ("a.tif" if mode == "F" else "a.png"), mode)
    assert predict(path).status == 0
    assert (tmp_path / "out" / "a.jpg").is_file()


def test_an_output_that_cannot_be_made_is_one_sentence(predict, tmp_path: Path) -> None:
    output = save(tmp_path / "a.png") / "out"
    done = predict(tmp_path / "a.png", output=output)
    assert done.status == 1
    assert done.err.strip() == f"--output {output}: cannot be written (Not a directory)."


def test_exif_turns_the_image(predict, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # quarter turn
    predict(save(tmp_path / "a.jpg", size=(80, 40), exif=exif))
    width, height = Image.open(tmp_path / "out" / "a.jpg").size
    assert height > width


def test_photographs_are_not_overwritten(scb_d2, tmp_path: Path) -> None:
    photograph = save(tmp_path / "in" / "a.jpg")
    before = photograph.read_bytes()
    for output in (photograph.parent, tmp_path / "in" / ".." / "in"):
        words = ["--config-file", "config.yaml", "--output", output]
        done = scb_d2("predict", photograph.parent, *words)
        assert done.status == 1
        assert done.err.strip() == (
            f"--output {output}: {output / 'a.jpg'}, which is read, would be overwritten."
        )
    assert photograph.read_bytes() == before


@pytest.mark.parametrize("image_format", ["RGB", "BGR", "L", "YUV-BT.601"])
def test_the_network_sees_what_it_sees_in_evaluation(tmp_path: Path, image_format: str) -> None:
    class Model(torch.nn.Module):
        def forward(self, inputs: list[dict]) -> list[dict]:
            self.seen = inputs[0]["image"]
            return [{"instances": Instances(self.seen.shape[-2:])}]

    path = str(save(tmp_path / "a.png"))
    mapper = SimpleNamespace(augmentations=T.AugmentationList([]), image_format=image_format)
    predictor = Predictor(Model(), mapper, Categories([], []))
    predictor(read_image(path))
    evaluated = images.read_image(path, image_format)
    assert predictor.model.seen.numpy().tolist() == evaluated.transpose(2, 0, 1).tolist()


def test_folders_patterns_and_equal_names(predict, tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.png")
    save(tmp_path / "x" / "b.PNG")
    (tmp_path / "x" / "notes.txt").write_text("no image")
    save(tmp_path / "y" / "a.png")
    done = predict(tmp_path / "x", tmp_path / "y" / "*.png")
    assert done.status == 0, done.err
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.jpg"))
    assert pictures == ["a.jpg", "a_2.jpg", "b.jpg"]


def test_hidden_files_of_a_folder_are_no_pictures(predict, tmp_path: Path) -> None:
    image = save(tmp_path / "in" / "a.png")
    (image.parent / "._a.png").write_bytes(b"what macOS leaves")
    done = predict(image.parent)
    assert (done.status, done.err) == (0, "")
    assert "[1/1]" in done.out


def test_bad_images_are_named_and_the_others_done(predict, tmp_path: Path) -> None:
    good = save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    done = predict(tmp_path / "missing.png", tmp_path / "bad.png", good)
    assert done.status == 1
    assert "missing.png does not exist" in done.err
    assert "bad.png is no image" in done.err
    assert len(done.err.strip().splitlines()) == 2
    assert (tmp_path / "out" / "good.jpg").is_file()
    assert {result["image_id"] for result in read_results(tmp_path / "out")} <= {3}


def test_nothing_is_written_where_nothing_can_be_done(predict, tmp_path: Path) -> None:
    done = predict(tmp_path / "missing.png")
    assert done.status == 1 and "no image could be used" in done.err
    (tmp_path / "empty").mkdir()
    done = predict(tmp_path / "empty")
    assert done.status == 1 and "holds no image" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--weights", "nowhere.pth"], "the weights nowhere.pth do not exist"),
        (["--weights", "text.pth"], "the weights text.pth cannot be read as a checkpoint"),
        (["--weights", "part.pth"], "they lack"),
        (["--opts", "MODEL.RETINANET.NUM_CLASSES", "7"], "instead of (42,"),
        (["--score-threshold", "1.5"], "--score-threshold must be from 0 to 1"),
        (["--score-threshold", "nan"], "--score-threshold must be from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    predict, tmp_path: Path, untrained_run: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    weights = torch.load(untrained_run / "model_final.pth")["model"]
    backbone = {key: value for key, value in weights.items() if key.startswith("backbone")}
    torch.save({"model": backbone}, tmp_path / "part.pth")
    done = predict(save(tmp_path / "a.png"), *words)
    assert done.status == 1
    assert sentence in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file_is_refused(predict, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = predict(save(tmp_path / "a.png"))
    assert done.status == 1 and "is a file" in done.err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_config_without_weights_beside_it_asks_for_them(scb_d2, tmp_path, repo_root) -> None:
    config = repo_root / "configs" / "shapes_retinanet_scb.yaml"
    done = scb_d2(
        "predict", "--config-file", config, save(tmp_path / "a.png"), "--output", tmp_path / "out"
    )
    assert done.status == 1 and "--weights FILE" in done.err


@pytest.mark.parametrize(
    "zoo", ["faster_rcnn_R_50_FPN_1x.yaml", "retinanet_R_50_FPN_1x.yaml", "rpn_R_50_FPN_1x.yaml"]
)
def test_detectron2s_own_architectures_work(scb_d2, tmp_path: Path, zoo: str) -> None:
    opts = [
        "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "64",
        "MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64",
        "MODEL.FPN.OUT_CHANNELS", "16", "MODEL.RETINANET.NUM_CLASSES", "2",
        "MODEL.ROI_BOX_HEAD.FC_DIM", "16",
    ]  # fmt: skip
    config = f"COCO-Detection/{zoo}"
    cfg = load_config(config, opts)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "w.pth")
    done = scb_d2(
        "predict", "--config-file", config, "--weights", tmp_path / "w.pth",
        save(tmp_path / "a.png"), "--output", tmp_path / "out", "--opts", *opts,
    )  # fmt: skip
    if zoo.startswith("rpn"):
        assert done.status == 1 and "detects no objects" in done.err
    else:
        assert done.status == 0, done.err
        assert (tmp_path / "out" / "a.jpg").is_file()


LAZY = """
from detectron2.layers import ShapeSpec
from detectron2.model_zoo import get_config

cfg = get_config("COCO-Detection/retinanet_R_50_FPN_1x.py")
model, optimizer, lr_multiplier = cfg.model, cfg.optimizer, cfg.lr_multiplier
dataloader, train = cfg.dataloader, cfg.train
model.head.conv_dims = [16]
model.head.input_shape = [ShapeSpec(channels=16)] * 5
model.backbone.out_channels = 16
model.backbone.top_block.in_channels = 512
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages.stride_in_1x1
dataloader.test.mapper.augmentations[0].short_edge_length = 64
train.device = "cpu"
"""


def test_lazy_configs_work(scb_d2, tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    model = instantiate(load_lazy_config(str(tmp_path / "lazy.py")).model)
    torch.nn.init.constant_(model.head.cls_score.bias, 0.5)
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    done = scb_d2(
        "predict", "--config-file", tmp_path / "lazy.py", "--weights", tmp_path / "w.pth",
        save(tmp_path / "a.png"), "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.status == 0, done.err
    results = read_results(tmp_path / "out")
    names = MetadataCatalog.get("coco_2017_val").thing_classes
    assert results and all(result["category_name"] in names for result in results)
