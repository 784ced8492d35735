"""What to do where a config asks for a GPU and there is none."""

import logging

import torch
from detectron2.config import CfgNode

from scb_d2.errors import ConfigError

__all__ = ["available_amp", "available_device", "use_available_device"]

logger = logging.getLogger(__name__)


def available_device(device: str, key: str) -> str:
    """The device to run on: ``device``, or ``"cpu"`` for a GPU where there is none.

    Args:
        device: as in the config, for example ``"cuda"``.
        key: the config key it comes from, for the message.

    Raises:
        ConfigError: if torch knows no such device, or the GPU's index is too large.
    """
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise ConfigError(
            f"{key} must be a device such as cuda, cuda:0 or cpu; got {device!r}."
        ) from None
    if wanted.type != "cuda":
        return device
    if not torch.cuda.is_available():
        logger.warning("%s is %s, but there is no GPU: running on the CPU.", key, device)
        return "cpu"
    if wanted.index is not None and wanted.index >= torch.cuda.device_count():
        raise ConfigError(f"{key} is {device}, but there are {torch.cuda.device_count()} GPUs.")
    return device


def available_amp(enabled: bool, device: str, key: str) -> bool:
    """Whether to train in mixed precision: not on a CPU, where Detectron2's trainer cannot."""
    if enabled and torch.device(device).type != "cuda":
        logger.warning("%s is True, but the device is %s: training in float32.", key, device)
        return False
    return enabled


def use_available_device(cfg: CfgNode) -> None:
    """Set ``MODEL.DEVICE`` and ``SOLVER.AMP.ENABLED`` to what this machine can do, in place."""
    cfg.MODEL.DEVICE = available_device(cfg.MODEL.DEVICE, "MODEL.DEVICE")
    cfg.SOLVER.AMP.ENABLED = available_amp(
        cfg.SOLVER.AMP.ENABLED, cfg.MODEL.DEVICE, "SOLVER.AMP.ENABLED"
    )
