"""Image files to pixels, with Pillow and numpy alone, so that a runtime without PyTorch does the very same.

A file is decoded, turned upright (EXIF), brought to 8-bit RGB (alpha on white) and resized to a square;
the model's input is `pixels * scale + offset` of each channel in float32 (`normalise`).
"""

from __future__ import annotations

import contextlib
import math
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from distilcap.errors import ConfigError, DataError
from distilcap.runtime.large import opened, reduce
from distilcap.runtime.limits import MAX_SIZE

__all__ = ["DECODINGS", "Preprocessing", "load_pixels", "normalise", "read_image", "to_pixels", "to_rgb"]

DECODINGS = ("whole", "reduced")

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[float, float, float, float]
"""Left, upper, right and lower end of a part of a picture, in pixels."""

_STRIP = 1 << 18  # pixels that are brought to RGB at once
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the model's input; goes as JSON into feature stores and bundles.

    Attributes:
        size: side of the square input, in pixels.
        mean: of each channel (red, green, blue), on the scale 0 to 1; subtracted.
        std: of each channel; divides.
        filter: "bicubic" or "bilinear", antialiased as Pillow does it.
        decoding: "whole", or "reduced": a JPEG is decoded at a half, a quarter or an eighth of its size where
            at least twice `size` remains of each side, four times as fast for a phone's photograph.
    """

    size: int = 224
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    filter: str = "bicubic"
    decoding: str = "whole"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"`size` must be at least 1, but is {self.size}.")
        if self.size > MAX_SIZE:
            raise ConfigError(f"`size` must be at most {MAX_SIZE:,}, but is {self.size}.")
        if self.filter not in _FILTERS:
            raise ConfigError(f'`filter` must be "bicubic" or "bilinear", but is "{self.filter}".')
        if self.decoding not in DECODINGS:
            raise ConfigError(f'`decoding` must be "whole" or "reduced", but is "{self.decoding}".')
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"`{name}` must have 3 values, but has {len(getattr(self, name))}.")
            if not all(map(math.isfinite, getattr(self, name))):
                raise ConfigError(f"`{name}` must be finite, but is {getattr(self, name)}.")
        if min(self.std) <= 0:
            raise ConfigError(f"`std` must be positive, but is {self.std}.")

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; `from_json` reads it back equal."""
        plain = asdict(self) | {"mean": list(self.mean), "std": list(self.std), "resize": "squash"}
        if self.decoding == "whole":  # the only one once: older recipes stay what they were
            del plain["decoding"]
        return plain

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Preprocessing:
        """Read what `to_json` gave.

        Raises:
            DataError: a field is missing or unknown.
        """
        plain = dict(content)
        if (resize := plain.pop("resize", "squash")) != "squash":
            raise DataError(f'Not a preprocessing: `resize` must be "squash", but is {resize!r}.')
        try:
            return Preprocessing(**plain)
        except TypeError as error:
            raise DataError(f"Not a preprocessing: {error}.") from None


def read_image(source: Path | bytes, least: int | None = None) -> Image.Image:
    """Decode a file (or its bytes) to an upright 8-bit RGB image; transparency goes onto white.

    Args:
        least: pixels of each side to which a JPEG may be reduced, see `large.reduce`; None decodes it whole.

    Raises:
        DataError: the file is missing, not a regular file (a pipe would be waited for), empty, truncated, no
            image, or has more pixels than are read.
    """
    return _read(source, least)[0]


def _read(source: Path | bytes, least: int | None) -> tuple[Image.Image, Box]:
    """`read_image`, and the part of the image that the picture fills."""
    name = str(source) if isinstance(source, Path) else "image"
    try:
        if isinstance(source, Path) and not stat.S_ISREG(mode := source.stat().st_mode):
            what = "there is no such image" if stat.S_ISDIR(mode) else "not a regular file"
            raise DataError(f"{name}: {what}.")
        with opened(source) as image:
            filled = reduce(image, least)
            image.load()
            orientation = _turn_upright(image)
            return to_rgb(image), _box(filled, image.size, orientation)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise DataError(f"{name}: there is no such image.") from None
    except UnidentifiedImageError:
        empty = not source if isinstance(source, bytes) else source.stat().st_size == 0
        raise DataError(f"{name}: {'an empty file' if empty else 'not an image Pillow can read'}.") from None
    except DataError as error:  # already named, too large, or of a kind that cannot be read here
        raise DataError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from None
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # Pillow's decoders raise whatever they meet: OSError, SyntaxError, ValueError …
        raise DataError(f"{name}: cannot be decoded: {error}.") from None


def _turn_upright(image: Image.Image) -> int:
    """Turn an image as its EXIF says, in place, since a copy of a large one is too much; return what it says.

    A photograph with broken EXIF is taken as it is.
    """
    orientation = 1
    with contextlib.suppress(Exception):  # Pillow raises whatever it meets in damaged metadata
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(image, in_place=True)
    return orientation


def _box(filled: tuple[float, float], sides: tuple[int, int], orientation: int) -> Box:
    """What lay in the upper left corner of an image before it was turned upright to these sides."""
    width, height = filled[::-1] if orientation in (5, 6, 7, 8) else filled
    left = sides[0] - width if orientation in (2, 3, 6, 7) else 0
    upper = sides[1] - height if orientation in (3, 4, 7, 8) else 0
    return left, upper, left + width, upper + height


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring an image of any of Pillow's modes to RGB; transparency goes onto white.

    Beside the image and its RGB only a strip of it is held, since a small file can be large as floats.

    Raises:
        ValueError: it has no pixels, or a mode that Pillow does not bring to RGB.
    """
    if not all(image.size):
        raise ValueError(f"it has {image.width} x {image.height} pixels")
    if image.mode.startswith("I") or image.mode == "F":
        highest = max(_highest(strip) for _, strip in _strips(image))
        full = 65535 if highest > 255 else 255 if highest > 1 or image.mode != "F" else 1
        return _by_strips(image, lambda strip: _to_8_bits(strip, full))
    if image.has_transparency_data:
        return _by_strips(image, _onto_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Strips of an image from top to bottom, each with its first row."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _by_strips(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """An RGB image of what becomes of each strip."""
    whole = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        whole.paste(change(strip), (0, top))
    return whole


def _onto_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _highest(image: Image.Image) -> float:
    values = np.asarray(image, dtype=np.float64)
    return float(values.max(initial=0, where=np.isfinite(values)))


def _to_8_bits(image: Image.Image, full: int) -> Image.Image:
    """Scale a grey image of 16 bits (modes I;16, I) or floats to 8 bits; Pillow's `convert` would clip it.

    Where a float is infinite it is white or black, and where it is NaN (no measurement) black.

    Args:
        full: the value that becomes white.
    """
    values = np.asarray(image, dtype=np.float64)
    return Image.fromarray((np.nan_to_num(values.clip(0, full)) * (255 / full) + 0.5).astype(np.uint8))


def to_pixels(image: Image.Image, preprocessing: Preprocessing, box: Box | None = None) -> Bytes:
    """Resize an RGB image, or the part of it in a box, to a square; returns (S, S, 3) bytes."""
    size = preprocessing.size
    return np.asarray(image.resize((size, size), _FILTERS[preprocessing.filter], box))


def load_pixels(source: Path | bytes, preprocessing: Preprocessing) -> Bytes:
    """Decode and resize a file; returns (S, S, 3) bytes.

    Raises:
        DataError: the file cannot be decoded; the message names it.
    """
    least = 2 * preprocessing.size if preprocessing.decoding == "reduced" else None
    image, box = _read(source, least)
    return to_pixels(image, preprocessing, box)


def normalise(pixels: Bytes, preprocessing: Preprocessing) -> Floats:
    """(B, S, S, 3) bytes to the model's input (B, 3, S, S), float32: `pixels * scale + offset` by channel."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    scale = (1 / (255 * std)).astype(np.float32)
    offset = (-mean / std).astype(np.float32)
    planes = pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    planes *= scale[:, None, None]
    planes += offset[:, None, None]
    return planes
