"""Parts of a network that are not trained."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from scb_d2.errors import ConfigError
from scb_d2.utils.arguments import check_choice

from .network import build_network, map_strides

__all__ = ["NORMS", "convert_norms", "freeze_up_to", "frozen_norms"]

NORMS = ("BN", "FrozenBN", "SyncBN")


def freeze_up_to(network: nn.Module, name: str, freeze_at: int) -> None:
    """Stop training the parameters that the map ``c<freeze_at>`` is computed with, in place.

    Args:
        network: see :func:`.network.build_network`.
        name: of the network.
        freeze_at: 0 freezes nothing.

    Raises:
        ConfigError: if the network has no such map.
    """
    if freeze_at == 0:
        return
    strides = map_strides(name)
    if f"c{freeze_at}" not in strides:
        allowed = ", ".join(["0", *(x.removeprefix("c") for x in strides)])
        raise ConfigError(
            f"MODEL.BACKBONE.FREEZE_AT must be one of {allowed} for timm's {name!r}; got "
            f"{freeze_at!r}."
        )
    used = _parameters_of(name, f"c{freeze_at}", side=4 * max(strides.values()))
    for key, parameter in network.named_parameters():
        if key in used:
            parameter.requires_grad_(False)


def _parameters_of(name: str, out_feature: str, side: int) -> set[str]:
    """Names of the parameters that a map depends on."""
    with torch.device("meta"):
        network = build_network(name, [out_feature]).eval()
        parameters = dict(network.named_parameters())
        (features,) = network(torch.empty(1, 3, side, side))
        gradients = torch.autograd.grad(
            features.sum(), list(parameters.values()), allow_unused=True
        )
    return {key for key, x in zip(parameters, gradients, strict=True) if x is not None}


def convert_norms(network: nn.Module, norm: str) -> nn.Module:
    """The network with batch norms as ``MODEL.TIMM.NORM`` asks.

    Args:
        network: see :func:`.network.build_network`; changed in place.
        norm: one of :data:`NORMS`.

    Raises:
        ConfigError: if ``norm`` is none of these.
    """
    check_choice(norm, NORMS, "MODEL.TIMM.NORM")
    if norm == "FrozenBN":
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)
    elif norm == "SyncBN":
        from timm.layers import convert_sync_batchnorm  # torch's own would lose activations

        network = convert_sync_batchnorm(network)
    return network


def frozen_norms(network: nn.Module) -> list[nn.Module]:
    """The batch norms whose factors are not trained; their statistics must not change either."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and not any(x.requires_grad for x in module.parameters())
    ]
