"""The processor's cores."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

__all__ = ["usable_cores"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time in each period, and the period; "max" is all (Linux, cgroups 2)."""


def usable_cores() -> int:
    """How many of the processor's cores this process may use; a container's quota counts in whole cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no quota
        quota, period = map(int, _QUOTA.read_text().split())
        cores = min(cores, math.ceil(quota / period))
    return max(1, cores)
