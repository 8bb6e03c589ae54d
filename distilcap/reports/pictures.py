"""Pictures in reports: only what Pillow decodes, encoded anew, so that no other file can be passed on."""

from __future__ import annotations

import io
import os
from pathlib import Path

from distilcap.errors import DataError
from distilcap.runtime.pixels import read_image

__all__ = ["lies_below", "picture_jpeg"]

SIDE = 640  # pixels at most


def lies_below(path: Path, folder: Path) -> bool:
    """Whether a path, after all links, is below a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a zero byte
        return False


def picture_jpeg(path: Path) -> bytes:
    """A picture as JPEG of at most `SIDE` pixels, without the metadata that a camera adds.

    Raises:
        DataError: it is missing or not a picture.
    """
    if not os.path.isfile(path):  # a pipe would be waited for; no error at a name too long
        raise DataError(f"{path}: there is no such image.")
    image = read_image(path, 2 * SIDE)
    image.thumbnail((SIDE, SIDE))
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
