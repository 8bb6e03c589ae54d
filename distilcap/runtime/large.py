"""Large photographs: JPEGs decoded at a half, a quarter or an eighth of their size, and what is too large.

One rule for every command that reads images: a JPEG may have `MAX_JPEG_PIXELS`, any other image `MAX_PIXELS`.
Beyond `MAX_PIXELS` a JPEG is decoded at half its size at most, so that memory stays below that of the largest
image of another format.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from distilcap.errors import DataError
from distilcap.runtime.formats import open_image

__all__ = ["MAX_JPEG_PIXELS", "MAX_PIXELS", "opened", "reduce"]

MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte of RGB
MAX_JPEG_PIXELS = 4 * MAX_PIXELS  # those of phones have up to 200 million
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
MAX_COEFFICIENTS = 360_000_000  # bytes: of a progressive JPEG all of them are held while it is decoded

# No remark on the standard error: `reduce` judges them. `warnings.catch_warnings` would not do, since images
# are decoded in threads. Behind the filters of the program that imports this: it has pictures of its own, and
# may well make the warning an error, as Pillow's manual advises.
warnings.simplefilter("ignore", Image.DecompressionBombWarning, append=True)


def opened(source: Path | bytes) -> Image.Image:
    """Open an image without decoding it, of any size: `reduce` judges that.

    Raises:
        DataError: more pixels than are read, or as `formats.open_image`; the message names no file.
        UnidentifiedImageError, OSError: as `formats.open_image`.
    """
    try:
        return open_image(source)
    except _BOMBS:
        pass
    try:
        return open_image(source, check_size=False)
    except _BOMBS:  # of formats that look at the size themselves
        raise _too_large() from None


def reduce(image: Image.Image, least: int | None = None) -> tuple[float, float]:
    """Have an opened JPEG decoded at a fraction of its size; other images are left as they are.

    Args:
        least: pixels that must remain of each side, where it has as many; None reduces only what would not
            be read otherwise.

    Returns:
        Width and height that the picture fills of the decoded one, from its upper left corner: the fraction
        of each side, which libjpeg rounds up.

    Raises:
        DataError: more pixels than are read; the message names no file.
    """
    width, height = image.size
    pixels, filled = width * height, (float(width), float(height))
    if isinstance(image, JpegImageFile) and pixels <= MAX_JPEG_PIXELS:
        parts = 2 if pixels > MAX_PIXELS else 1
        sides = min(least or width, width // parts), min(least or height, height // parts)
        if (drafted := image.draft(None, sides)) is not None:
            filled = drafted[1][2:]
        if parts == 2 and image.info.get("progressive") and _coefficients(image, pixels) > MAX_COEFFICIENTS:
            raise DataError(f"a progressive JPEG of {pixels:,} pixels; save it as baseline JPEG.")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large()
    return filled


def _coefficients(image: JpegImageFile, pixels: int) -> float:
    """Bytes of a JPEG's coefficients, two each; colours mostly have a quarter of the brightness's."""
    samples = [across * down for _, across, down, _ in image.layer]
    return 2 * pixels * sum(samples) / max(samples)


def _too_large() -> DataError:
    return DataError(
        f"a picture of more than {MAX_PIXELS:,} pixels ({MAX_JPEG_PIXELS:,} as JPEG); make it smaller, "
        "or save it as JPEG."
    )
