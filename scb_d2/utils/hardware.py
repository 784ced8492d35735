"""The machine: what a measurement was made on, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import torch

__all__ = ["available_cores", "hardware"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


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


def available_cores(quota_file: Path = _QUOTA) -> int:
    """Cores of this process by its affinity and its control group's CPU quota, at least 1.

    A container's limit is invisible to torch.

    Args:
        quota_file: the control group's ``cpu.max`` (version 2): quota and period, or ``max``.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
