"""What to do where a config asks for what this machine does not have."""

import logging
from pathlib import Path

import torch
from detectron2.config import CfgNode

from scb_d2.errors import ConfigError

__all__ = ["available_amp", "available_device", "cpu_has_bfloat16", "use_available_device"]

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
    """Whether to train in mixed precision: on GPUs, and on CPUs that compute in bfloat16.

    Args:
        enabled: as in the config.
        device: that is trained on.
        key: the config key it comes from, for the message.
    """
    kind = torch.device(device).type
    if not enabled or kind == "cuda" or (kind == "cpu" and cpu_has_bfloat16()):
        return enabled
    lacks = "this CPU has no bfloat16" if kind == "cpu" else f"the device is {device}"
    logger.warning("%s is True, but %s: training in float32.", key, lacks)
    return False


def cpu_has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16, without which it is slower than float32.

    These are AVX512-BF16 and AMX on x86, and BF16 on ARM.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        names = [name for name, has in torch.cpu.get_capabilities().items() if has is True]
    else:
        try:
            names = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        except OSError:
            return False
    return any(name.lower().endswith("bf16") for name in names)


def use_available_device(cfg: CfgNode) -> None:
    """Set ``MODEL.DEVICE`` and ``SOLVER.AMP.ENABLED`` to what this machine can do, in place."""
    cfg.MODEL.DEVICE = available_device(cfg.MODEL.DEVICE, "MODEL.DEVICE")
    cfg.SOLVER.AMP.ENABLED = available_amp(
        cfg.SOLVER.AMP.ENABLED, cfg.MODEL.DEVICE, "SOLVER.AMP.ENABLED"
    )
