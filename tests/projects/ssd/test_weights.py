from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torchvision.models import vgg16
from torchvision.models.detection import ssd300_vgg16

from scb_d2.errors import DataError
from scb_d2.projects.ssd import convert_weights
from scb_d2.projects.ssd.convert import main

from .builders import build_ssd


@pytest.fixture(scope="module")
def vgg() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    with torch.device("meta"):
        model = vgg16()
    return {
        name: torch.randn(value.shape) * 0.01 if value.numel() < 2e7 else torch.zeros(value.shape)
        for name, value in model.state_dict().items()
    }


def _reduced_fc() -> dict[str, torch.Tensor]:
    """The layout of vgg16_reducedfc.pth: a flat Sequential of the 15 convolutions."""
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256)}
    shapes |= {14: (256, 256), 17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512)}
    shapes |= {26: (512, 512), 28: (512, 512), 31: (1024, 512), 33: (1024, 1024)}
    weights = {}
    for index, shape in shapes.items():
        kernel = 1 if index == 33 else 3
        weights[f"{index}.weight"] = torch.randn(*shape, kernel, kernel) * 0.01
        weights[f"{index}.bias"] = torch.randn(shape[0])
    return weights


def test_vgg16_through_the_checkpointer(vgg: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(vgg, tmp_path / "vgg16.pth")
    model = build_ssd("ssd300_voc.yaml")
    head = model.head.cls_score[0].weight.clone()
    DetectionCheckpointer(model).load(str(tmp_path / "vgg16.pth"))
    layers = model.backbone.vgg
    assert torch.equal(layers.conv1_1.weight, vgg["features.0.weight"])
    assert torch.equal(layers.conv4_3.bias, vgg["features.21.bias"])
    assert torch.equal(layers.conv5_3.weight, vgg["features.28.weight"])
    assert torch.equal(model.head.cls_score[0].weight, head)


def test_fully_connected_layers_are_subsampled(vgg: dict[str, torch.Tensor]) -> None:
    weights = dict(vgg)
    fc6 = torch.zeros(4096, 512, 7, 7)
    fc6[8, 5, 3, 6] = 1.0  # neuron 2 of 1024, pixel (1, 2) of 3x3
    fc7 = torch.zeros(4096, 4096)
    fc7[12, 20] = 2.0
    weights["classifier.0.weight"], weights["classifier.3.weight"] = fc6.flatten(1), fc7
    converted = convert_weights(weights)
    assert converted["backbone.vgg.fc6.weight"].shape == (1024, 512, 3, 3)
    assert converted["backbone.vgg.fc6.weight"].nonzero().tolist() == [[2, 5, 1, 2]]
    assert converted["backbone.vgg.fc7.weight"].nonzero().tolist() == [[3, 5, 0, 0]]
    assert torch.equal(converted["backbone.vgg.fc6.bias"], vgg["classifier.0.bias"][::4])


def test_features_without_a_classifier(vgg: dict[str, torch.Tensor]) -> None:
    """torchvision's weights for SSD: the classifier is there, but not a number."""
    nan = {k: v.clone().fill_(torch.nan) if "classifier" in k else v for k, v in vgg.items()}
    features = {k: v for k, v in vgg.items() if "classifier" not in k}
    for weights in (nan, features):
        converted = convert_weights(weights)
        assert len(converted) == 26
        assert not any(".fc" in name for name in converted)


def test_reduced_fc_file() -> None:
    weights = _reduced_fc()
    model = build_ssd("ssd300_voc.yaml")
    incompatible = model.load_state_dict(weights, strict=False)
    assert not incompatible.unexpected_keys
    assert torch.equal(model.backbone.vgg.fc6.weight, weights["31.weight"])
    assert torch.equal(model.backbone.vgg.fc7.bias, weights["33.bias"])
    assert torch.equal(model.backbone.vgg.conv2_2.weight, weights["7.weight"])


def test_own_checkpoints_pass_untouched() -> None:
    model = build_ssd("ssd_toy.yaml")
    assert convert_weights(model.state_dict()) is None
    other = build_ssd("ssd_toy.yaml")
    other.load_state_dict(model.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


def test_weights_of_another_width_are_refused() -> None:
    model = build_ssd("ssd_toy.yaml")
    with pytest.raises(DataError, match=r"conv1_1.weight is \(64, 3, 3, 3\) in the file and \(8,"):
        model.load_state_dict(_reduced_fc(), strict=False)


def test_incomplete_weights_are_refused() -> None:
    weights = _reduced_fc()
    del weights["5.bias"]
    with pytest.raises(DataError, match=r"there is no 5\.bias"):
        convert_weights(weights)


def test_detector_of_other_classes_is_refused() -> None:
    with torch.device("meta"):
        weights = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).state_dict()
    with pytest.raises(DataError, match=r"91 outputs.*NUM_CLASSES 20"):
        convert_weights(weights, num_classes=20)


def test_ssd300_weights_do_not_fit_ssd512() -> None:
    torch.manual_seed(0)
    weights = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).state_dict()
    with pytest.raises(DataError, match="do not fit this model"):
        build_ssd("ssd512_coco.yaml").load_state_dict(weights, strict=False)


def test_command_converts_a_detector_for_fine_tuning(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)
    torch.save(theirs.state_dict(), tmp_path / "coco.pth")
    assert main([str(tmp_path / "coco.pth"), str(tmp_path / "ssd.pth")]) == 0
    model = build_ssd("ssd300_coco.yaml", "MODEL.SSD.NUM_CLASSES", 3)
    DetectionCheckpointer(model).load(str(tmp_path / "ssd.pth"))
    assert torch.equal(model.backbone.vgg.fc7.weight, theirs.backbone.extra[0][7][3].weight)
    assert torch.equal(
        model.head.bbox_pred[0].weight, theirs.head.regression_head.module_list[0].weight
    )


@pytest.mark.parametrize("content", ["missing", "text", "other"])
def test_command_says_what_is_wrong(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.pth", tmp_path / "out.pth"
    output.write_bytes(b"kept")
    if content == "text":
        source.write_text("hello")
    elif content == "other":
        torch.save({"layer1.weight": torch.zeros(1)}, source)
    assert main([str(source), str(output)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and str(source) in lines[0]
    assert output.read_bytes() == b"kept"
