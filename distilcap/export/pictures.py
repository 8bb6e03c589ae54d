"""Pictures from a fixed seed, for checks and timings without photographs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from distilcap.runtime.pixels import Bytes

__all__ = ["sample_pictures"]


def sample_pictures(count: int, size: int) -> Iterator[tuple[str, Bytes]]:
    """Smooth gradients of random colours: names, and (S, S, 3) bytes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (2 + number % 6, 2 + number % 5, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        yield f"picture {number}", np.asarray(picture)
