"""timm's networks as makers of feature maps."""

import difflib
import functools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType

import torch
from torch import nn

from scb_d2.errors import ConfigError

__all__ = ["build_network", "check_name", "import_timm", "map_strides"]

_PROBE_CELLS = 4


def import_timm() -> ModuleType:
    """timm, which takes a second to import and is therefore imported when it is needed.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import timm
    except ImportError:
        raise ConfigError(
            "the backbones of projects/Timm need the package timm, which is not installed: "
            "pip install timm."
        ) from None
    return timm


def check_name(name: str, key: str) -> None:
    """Check that timm has a network of this name.

    Args:
        name: as in ``timm.list_models()``, with or without the tag of its weights.
        key: where the name stands.

    Raises:
        ConfigError: naming what is similar.
    """
    timm = import_timm()
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them."
    raise ConfigError(f"{key}: {name!r} is no network of timm {timm.__version__}; {hint}")


@functools.cache
def map_strides(name: str) -> Mapping[str, int]:
    """The feature maps of a network and their strides, such as ``{"c1": 2, ..., "c5": 32}``.

    Args:
        name: see :func:`check_name`.

    Raises:
        ConfigError: if there is no such network, or it makes no pyramid of feature maps of images
            of any size.
    """
    check_name(name, "MODEL.TIMM.NAME")
    with torch.device("meta"):
        network = _network(name).eval()
        strides = network.feature_info.reduction()
        side = _PROBE_CELLS * max(strides)
        given = [tuple(x.shape[1:]) for x in _maps(network, torch.empty(1, 3, side, side))]
    expected = [
        (channels, side // stride, side // stride)
        for channels, stride in zip(network.feature_info.channels(), strides, strict=True)
    ]
    if strides != sorted(set(strides)) or any(math.log2(stride) % 1 for stride in strides):
        raise _no_pyramid(name, f"its maps have the strides {strides}")
    if given != expected:
        raise _no_pyramid(name, "its maps have other sizes than channels and strides tell")
    return MappingProxyType({f"c{int(math.log2(stride))}": stride for stride in strides})


def build_network(name: str, maps: Sequence[str], in_channels: int = 3) -> nn.Module:
    """A network of timm without weights, as far as the chosen maps need it.

    Args:
        name: see :func:`check_name`.
        maps: names of maps as in :func:`map_strides`, in that order.
        in_channels: channels of the image.

    Returns:
        A module that makes a list of the chosen maps from (N, ``in_channels``, H, W) images and
        tells their channels and strides in ``feature_info``.

    Raises:
        ConfigError: see :func:`map_strides`; or if there is no map of a name in ``maps``.
    """
    given = list(map_strides(name))
    if not maps or list(maps) != [x for x in given if x in maps]:
        raise ConfigError(
            f"MODEL.TIMM.OUT_FEATURES must name maps of timm's {name!r}, finest first, of "
            f"{', '.join(given)}; got {', '.join(maps) or 'none'}."
        )
    return _network(name, in_chans=in_channels, out_indices=[given.index(x) for x in maps])


def _network(name: str, **arguments: object) -> nn.Module:
    try:
        return import_timm().create_model(name, pretrained=False, features_only=True, **arguments)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise _no_pyramid(name, _first_line(error)) from error


def _maps(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    try:
        return network(images)
    except (AssertionError, RuntimeError, ValueError):  # made for one size of image
        return []


def _no_pyramid(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"timm's {name!r} makes no pyramid of feature maps of images of any size ({reason}): "
        "choose a convolutional network such as 'resnet50'."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
