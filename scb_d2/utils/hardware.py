"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

__all__ = ["hardware"]


def hardware() -> dict[str, Any]:
    """Processor, cores, threads and versions of this process; the GPU where there is one."""
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
