"""Pictures for the tests of encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilcap.data.dataset import ImageRecord


@pytest.fixture(scope="session")
def write_images() -> Callable[..., list[ImageRecord]]:
    """A function (folder, count, size) that writes JPEGs of smooth random colours, always the same ones."""

    def write(folder: Path, count: int, size: int = 40) -> list[ImageRecord]:
        folder.mkdir(parents=True, exist_ok=True)
        records = []
        for number in range(count):
            coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
            path = folder / f"image{number}.jpg"
            Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path, quality=95)
            records.append(ImageRecord(path.stem, path, "train"))
        return records

    return write
