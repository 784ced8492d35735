"""Weights from elsewhere, with the names and the class order of this project.

Understood are the state dicts of torchvision's ``vgg16``, of the common ``vgg16_reducedfc.pth`` (a
flat ``nn.Sequential``, converted from Caffe) and of torchvision's ``ssd300_vgg16``.
"""

from collections.abc import Mapping

import torch
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from torch import Tensor

from scb_d2.errors import DataError

__all__ = ["check_fit", "convert_weights"]

# Index of each convolution in torchvision's `vgg16().features` and in the flat reduced-fc file.
_VGG_LAYERS = {
    "conv1_1": 0,
    "conv1_2": 2,
    "conv2_1": 5,
    "conv2_2": 7,
    "conv3_1": 10,
    "conv3_2": 12,
    "conv3_3": 14,
    "conv4_1": 17,
    "conv4_2": 19,
    "conv4_3": 21,
    "conv5_1": 24,
    "conv5_2": 26,
    "conv5_3": 28,
}
_REDUCED_FC_LAYERS = {**_VGG_LAYERS, "fc6": 31, "fc7": 33}
_COCO_OUTPUTS = 91
_COCO_IDS = sorted(x["id"] for x in COCO_CATEGORIES if x["isthing"])


def convert_weights(
    state_dict: Mapping[str, Tensor], num_classes: int | None = None
) -> dict[str, Tensor] | None:
    """Rename, and reorder where needed, the weights of a file.

    The fully connected layers of a whole ``vgg16`` are subsampled to fc6 (3x3) and fc7 (1x1), every
    fourth neuron and every third pixel as in Caffe's reduced net; where they are missing or not
    finite, as in torchvision's weights for SSD, fc6 and fc7 are left out. Of a detector, background
    moves from the first to the last output, and of 91 COCO outputs the 80 in use stay.

    Args:
        state_dict: the weights of a file.
        num_classes: K of the model; None: 80 for a detector of 91 outputs, else what it has.

    Returns:
        The weights of the model by name, or None where the layout is none of these.

    Raises:
        DataError: if weights of the recognised layout are missing, or its classes do not fit.
    """
    if "backbone.scale_weight" in state_dict:
        return _from_torchvision_ssd(state_dict, num_classes)
    if "features.0.weight" in state_dict:
        return _from_torchvision_vgg(state_dict)
    if {"0.weight", "31.weight"} <= set(state_dict):
        return _renamed(
            state_dict, {f"{i}": f"backbone.vgg.{x}" for x, i in _REDUCED_FC_LAYERS.items()}
        )
    return None


def check_fit(converted: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Refuse weights that a model has no place for.

    Args:
        converted: output of :func:`convert_weights`.
        model: the model's state dict.

    Raises:
        DataError: naming the first weight that does not fit.
    """
    for name, value in converted.items():
        if name not in model:
            raise DataError(f"the weights do not fit this model: it has no {name}.")
        if value.shape != model[name].shape:
            raise DataError(
                f"the weights do not fit this model: {name} is {tuple(value.shape)} in the file "
                f"and {tuple(model[name].shape)} in the model."
            )


def _renamed(state_dict: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Weight and bias of each layer under its new name."""
    converted = {}
    for old, new in names.items():
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" not in state_dict:
                raise DataError(f"the weights are no VGG16 or its SSD: there is no {old}.{kind}.")
            converted[f"{new}.{kind}"] = state_dict[f"{old}.{kind}"]
    return converted


def _from_torchvision_vgg(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    layers = {f"features.{i}": f"backbone.vgg.{name}" for name, i in _VGG_LAYERS.items()}
    converted = _renamed(state_dict, layers)
    names = [f"classifier.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")]
    if not all(name in state_dict and state_dict[name].isfinite().all() for name in names):
        return converted
    fc6, fc6_bias, fc7, fc7_bias = (state_dict[name] for name in names)
    if fc6.shape != (4096, 512 * 7 * 7) or fc7.shape != (4096, 4096):
        raise DataError(
            f"the weights are no VGG16: its fully connected layers are {tuple(fc6.shape)} and "
            f"{tuple(fc7.shape)} instead of (4096, 25088) and (4096, 4096)."
        )
    fc6 = fc6.view(4096, 512, 7, 7)[::4, :, ::3, ::3]
    fc7 = fc7.view(4096, 4096, 1, 1)[::4, ::4]
    fully_connected = {
        "fc6.weight": fc6,
        "fc6.bias": fc6_bias[::4],
        "fc7.weight": fc7,
        "fc7.bias": fc7_bias[::4],
    }
    return converted | {f"backbone.vgg.{k}": v.contiguous() for k, v in fully_connected.items()}


def _from_torchvision_ssd(
    state_dict: Mapping[str, Tensor], num_classes: int | None
) -> dict[str, Tensor]:
    layers = {}
    for name, index in _VGG_LAYERS.items():
        old = f"features.{index}" if index < 23 else f"extra.0.{index - 23}"
        layers[f"backbone.{old}"] = f"backbone.vgg.{name}"
    layers["backbone.extra.0.7.1"] = "backbone.vgg.fc6"
    layers["backbone.extra.0.7.3"] = "backbone.vgg.fc7"
    num_levels = sum(name.startswith("head.regression_head") for name in state_dict) // 2
    for level in range(1, num_levels - 1):
        layers[f"backbone.extra.{level}.0"] = f"backbone.extras.conv{level + 5}_1"
        layers[f"backbone.extra.{level}.2"] = f"backbone.extras.conv{level + 5}_2"
    for level in range(num_levels):
        layers[f"head.regression_head.module_list.{level}"] = f"head.bbox_pred.{level}"
        layers[f"head.classification_head.module_list.{level}"] = f"head.cls_score.{level}"
    converted = _renamed(state_dict, layers)
    converted["backbone.norms.conv4_3.weight"] = state_dict["backbone.scale_weight"]
    for level in range(num_levels):
        num_anchors = len(converted[f"head.bbox_pred.{level}.bias"]) // 4
        for kind in ("weight", "bias"):
            name = f"head.cls_score.{level}.{kind}"
            converted[name] = _reordered_classes(converted[name], num_anchors, num_classes)
    return converted


def _reordered_classes(outputs: Tensor, num_anchors: int, num_classes: int | None) -> Tensor:
    """Per anchor the K classes, then background, from background and then all ids."""
    per_anchor = outputs.unflatten(0, (num_anchors, -1))
    num_outputs = per_anchor.shape[1]
    if num_classes is None:
        num_classes = 80 if num_outputs == _COCO_OUTPUTS else num_outputs - 1
    if num_outputs == num_classes + 1:
        kept = [*range(1, num_outputs), 0]
    elif (num_outputs, num_classes) == (_COCO_OUTPUTS, len(_COCO_IDS)):
        kept = [*_COCO_IDS, 0]
    else:
        raise DataError(
            f"the weights are of a detector of {num_outputs} outputs, background included, which "
            f"do not fit MODEL.SSD.NUM_CLASSES {num_classes}; to fine-tune on other classes, "
            "convert them by `python -m scb_d2.projects.ssd.convert` first."
        )
    return per_anchor[:, torch.tensor(kept)].flatten(0, 1)
