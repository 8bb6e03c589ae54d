"""Pictures for checks and timings: a data set's photographs, or drawn ones from a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from distilcap.data.dataset import ImageRecord
from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.runtime.pixels import Bytes, Preprocessing, load_pixels

__all__ = ["draw_photograph", "readable", "sample_pictures"]


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


def readable(
    records: Sequence[ImageRecord], preprocessing: Preprocessing, progress: Progress
) -> Iterator[tuple[str, Bytes]]:
    """Photographs by image id, as an encoder sees them; of those that cannot be read it is said why."""
    for record in progress.track(records, "Comparing", len(records)):
        try:
            yield record.id, load_pixels(record.path, preprocessing)
        except DataError as error:
            progress.note(f"Skipped: {error}")
