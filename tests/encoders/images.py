"""Pictures for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from distilcap.data.dataset import ImageRecord


def write_images(folder: Path, count: int, size: int = 40) -> list[ImageRecord]:
    """Write JPEGs of smooth random colours; the same ones every time."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
        path = folder / f"image{number}.jpg"
        Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path, quality=95)
        records.append(ImageRecord(path.stem, path, "train"))
    return records
