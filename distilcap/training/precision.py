"""Which number format a machine computes in fastest."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["CPU_FACTS", "resolved_precision"]

CPU_FACTS = Path("/proc/cpuinfo")
_UNITS = {"amx_bf16", "avx512_bf16", "bf16"}  # of x86's processors, and of ARM's


def resolved_precision(precision: str, device: str = "cpu") -> str:
    """What "auto" is on a device: bfloat16 where a processor has units for that, else float32; others stay.

    To be asked before a stage is named: its key must say what it computed in.
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        # Steps of such captioners wait for their launches, not for products, and only steps in float32 are
        # recorded, which takes a third of the time (docs/speed.md, "On a GPU").
        return "float32"
    try:
        facts = CPU_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return "float32"
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", facts, re.MULTILINE)
    return "bfloat16" if listed and _UNITS & set(listed[1].split()) else "float32"
