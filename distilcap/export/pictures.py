"""Pictures from a fixed seed, for checks and timings without photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from distilcap.runtime.pixels import Bytes

__all__ = ["draw_photograph", "sample_pictures"]


def sample_pictures(count: int, size: int) -> Iterator[tuple[str, Bytes]]:
    """Smooth gradients of random colours: names, and (S, S, 3) bytes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (2 + number % 6, 2 + number % 5, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        yield f"picture {number}", np.asarray(picture)


def draw_photograph(path: Path) -> Path:
    """Write a JPEG of 4000 x 3000 pixels with grain, as a phone does, and return its path."""
    generator = np.random.default_rng(0)
    ((_, gradient),) = sample_pictures(1, 1000)
    grained = gradient[:750].astype(np.int16) + generator.integers(-6, 7, (750, 1000, 1), np.int16)
    part = grained.clip(0, 255).astype(np.uint8)
    Image.fromarray(np.tile(part, (4, 4, 1))).save(path, "JPEG", quality=90)
    return path
