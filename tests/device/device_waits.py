"""Where the package waits for a device: counted, and compared with the waits that are allowed, with reasons.

All others are stops that nobody meant.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

import distilcap

__all__ = ["Waits", "check", "draws_as_the_cpu", "note_wait", "waiting"]

Waits = Counter[str]
"""How often the program waited for the device, by file and function of the package."""

_waits = Waits()


def note_wait() -> None:
    """Count a wait for the innermost function of the package; if there is none, nobody's."""
    frame = sys._getframe()
    while frame and not _file_of(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    if frame:
        name = frame.f_code.co_qualname.partition(".<locals>")[0]
        _waits[f"{_file_of(frame.f_code.co_filename)} {name}"] += 1


@cache
def _file_of(path: str) -> str:
    """Of a file of the package, where in it; of others, nothing."""
    root = Path(distilcap.__file__).parent
    return Path(path).relative_to(root).as_posix() if root in Path(path).parents else ""


@contextmanager
def waiting() -> Iterator[Waits]:
    """Count the waits within."""
    global _waits
    before, _waits = _waits, Waits()
    try:
        yield _waits
    finally:
        _waits = before


@dataclass(frozen=True)
class Allowed:
    """At most so many waits for each `per`, words of `check`."""

    most: float
    per: str
    why: str


ALLOWED = {
    "training/shares.py share_of_batch": Allowed(1, "step", "the loss: is it a number? and it is logged"),
    "training/objectives.py SelfCritical.__call__": Allowed(1, "step", "CIDEr is computed on the CPU"),
    "training/graphs.py Recordings._self_critical": Allowed(1, "step", "CIDEr is computed on the CPU"),
    "models/fast/sampling.py draw": Allowed(1, "word", "which captions go on"),
    "decode/sample.py sample_memory": Allowed(1, "word", "does any caption go on?"),
    "decode/beam.py search_memory": Allowed(1, "word image", "which images' searches have ended"),
    "decode/hypotheses.py Hypotheses.or_error": Allowed(1, "batch", "are the results numbers?"),
    "decode/hypotheses.py Hypotheses.texts": Allowed(1, "batch", "captions are text"),
    "decode/captions.py caption_images": Allowed(1, "batch", "log-probabilities go into files"),
    "teachers/sampling.py draw_captions": Allowed(1, "batch", "log-probabilities go into files"),
    "pipeline/photographs.py RunCaptioner.describe": Allowed(1, "batch", "log-probabilities go into files"),
    "encoders/extract.py _write_all": Allowed(2, "batch", "features and their counts go into files"),
    "encoders/tuned.py LastStages.regions_of": Allowed(1, "step", "maps of new images are kept on the CPU"),
    "models/finite.py broken_weight": Allowed(1, "validation", "weights that are no numbers are not kept"),
    "tensors.py digest_of": Allowed(math.inf, "save", "by whose weights a log's captions are is in its name"),
    "tensors.py save_tensors": Allowed(math.inf, "save", "weights and checkpoints go into files"),
}


def check(waits: Waits, **units: float) -> None:
    """Compare what was counted with what is allowed.

    Args:
        units: of each `per`, how many there were.
    """
    for where, times in waits.items():
        assert where in ALLOWED, f"{where} waits for the device {times} times"
        allowed = ALLOWED[where]
        most = sum(allowed.most * units.get(per, 0) for per in allowed.per.split())
        assert times <= most, f"{where} waits for the device {times} times, {most:.0f} are allowed"


def draws_as_the_cpu(device: torch.device) -> bool:
    """Whether its random numbers are the CPU's; a GPU's are others."""
    return device.type != "cuda"
