"""Parts of a network that are not trained."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from scb_d2.errors import ConfigError
from scb_d2.utils.arguments import check_choice

from .network import build_network, map_strides

__all__ = ["NORMS", "freeze_unused", "freeze_up_to", "frozen_norms", "set_norms"]

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
    given = map_strides(name)
    if f"c{freeze_at}" not in given:
        allowed = ", ".join(["0", *(x.removeprefix("c") for x in given)])
        raise ConfigError(
            f"MODEL.BACKBONE.FREEZE_AT must be one of {allowed} for timm's {name!r}; got "
            f"{freeze_at!r}."
        )
    used = _parameters_of(name, [f"c{freeze_at}"])
    for key, parameter in network.named_parameters():
        if key in used:
            parameter.requires_grad_(False)


def freeze_unused(network: nn.Module, name: str, maps: Sequence[str]) -> None:
    """Stop training the parameters that no map needs, in place: several processes would wait.

    Args:
        network: see :func:`.network.build_network`.
        name: of the network.
        maps: the chosen ones.
    """
    if maps[-1] == list(map_strides(name))[-1]:
        return
    used = _parameters_of(name, maps)
    for key, parameter in network.named_parameters():
        if key not in used:
            parameter.requires_grad_(False)


def _parameters_of(name: str, maps: Sequence[str]) -> set[str]:
    """Names of the parameters that maps depend on."""
    side = 4 * max(map_strides(name).values())
    with torch.device("meta"), torch.enable_grad():
        network = build_network(name, maps).eval()
        parameters = dict(network.named_parameters())
        total = sum(x.sum() for x in network(torch.empty(1, 3, side, side)))
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {key for key, x in zip(parameters, gradients, strict=True) if x is not None}


def set_norms(network: nn.Module, norm: str) -> nn.Module:
    """The network with batch norms as ``MODEL.TIMM.NORM`` asks.

    Args:
        network: see :func:`.network.build_network`; changed in place.
        norm: one of :data:`NORMS`.

    Raises:
        ConfigError: if ``norm`` is none of these.
    """
    check_choice(norm, NORMS, "MODEL.TIMM.NORM")
    if norm == "FrozenBN":
        # Detectron2's conversion would lose the activation that timm's batch norms hold.
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)
    elif norm == "SyncBN":
        from timm.layers import convert_sync_batchnorm

        network = convert_sync_batchnorm(network)
    return network


def frozen_norms(network: nn.Module) -> list[nn.Module]:
    """The batch norms whose factors are not trained; their statistics must not change either."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [x for x in norms if x.affine and not any(p.requires_grad for p in x.parameters())]
