"""`FeatureStore`: the regions of many images in one memory-mapped float16 file.

A store is a folder of two files: `features.safetensors` (tensors `features` (N, R, D) float16 and `counts`
(N,) int16, the real regions of each image) and `store.json` (image ids, skipped images, the recipe, checksums
of each image's row and count, and of its file). `store.json` is written last: with it the store is complete;
see `FeatureWriter`.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.errors import DataError
from distilcap.integrity import read_sealed_json

if TYPE_CHECKING:
    from distilcap.shapes import Regions

__all__ = [
    "FeatureStore",
    "Halves",
    "Skipped",
    "check_space",
    "finite_rows",
    "readable_size",
    "row_checksum",
    "safetensors_header",
    "store_bytes",
]

Halves: TypeAlias = NDArray[np.float16]
Counts: TypeAlias = NDArray[np.int16]

FEATURES, STORE, LOG = "features.safetensors", "store.json", "progress.jsonl"
FORM = "distilcap features 2"  # 1 had no checksums
HEADER_BYTES = 4096  # a whole page of memory, so that rows begin at a page
_SPARE_BYTES = 64 << 20  # left free on the disk for everything else


@dataclass(frozen=True)
class Skipped:
    """An image that gave no features, and why."""

    id: str
    reason: str


class FeatureStore:
    """Reads a complete store; rows come from disk as they are asked for, and are checked the first time.

    Attributes:
        folder: where it lies.
        ids: image ids in the order of the rows; `count` (N) is how many.
        regions: most regions of an image (R). dim: features of a region (D).
        skipped: images that gave no features.
        recipe: how it was made, see `Encoder.recipe`.
        copied: how many of the images have their features from another store.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder = folder
        self.ids: tuple[str, ...] = tuple(content["ids"])
        self.count = len(self.ids)
        self.regions, self.dim = int(content["regions"]), int(content["dim"])
        self.skipped = tuple(Skipped(**fields) for fields in content["skipped"])
        self.recipe: dict[str, Any] = content["recipe"]
        self.copied = int(content.get("copied", 0))
        self._files: tuple[str, ...] = tuple(content.get("files", ()))  # older stores have none
        self._row_of = {image_id: row for row, image_id in enumerate(self.ids)}
        checksums = content.get("crc32")
        self._checksums = None if checksums is None else np.array(checksums, np.uint32).reshape(self.count)
        self._verified = np.zeros(self.count, np.bool_)
        path = folder / FEATURES
        size = store_bytes(self.count, self.regions, self.dim)
        if not path.is_file() or path.stat().st_size != size:
            raise self._damage(f"{path}: missing or not of {size} bytes")
        with path.open("rb") as file:
            if file.read(HEADER_BYTES) != safetensors_header(self.count, self.regions, self.dim):
                raise self._damage(f"{path}: its header is damaged")
        shape = (self.count, self.regions, self.dim)
        # numpy cannot map an empty array; a plain view of the map is indexed faster than a `memmap`.
        self._features: Halves = (
            np.asarray(np.memmap(path, np.float16, "r", HEADER_BYTES, shape))
            if self.count
            else np.empty(shape, np.float16)
        )
        end = HEADER_BYTES + 2 * self.count * self.regions * self.dim
        self._counts: Counts = np.fromfile(path, np.int16, offset=end)

    def _damage(self, what: str) -> DataError:
        return DataError(f"{what}; delete {self.folder} and run the same command again.")

    @staticmethod
    def open(folder: Path) -> FeatureStore:
        """Open a complete store.

        Raises:
            DataError: it is missing, incomplete or damaged; the message says which.
        """
        path = folder / STORE
        if not path.is_file() and (folder / LOG).is_file():
            raise DataError(
                f"{folder}: feature extraction was broken off; run it again, it goes on from there."
            )
        if not path.is_file():
            raise DataError(f"{path}: there is no such file.")
        content = read_sealed_json(path, f"delete {folder} and run the same command again")
        try:
            return FeatureStore(folder, content)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(f"{path}: not the index of a feature store.") from None

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._row_of

    def file_of(self, image_id: str) -> str:
        """SHA-256 of the file that an image was read from; "" where that is not known."""
        row = self._row_of.get(image_id)
        return "" if row is None or not self._files else self._files[row]

    def rows(self, ids: Sequence[str]) -> tuple[Halves, Counts]:
        """Read images in any order: features (B, R, D) float16 and counts of real regions (B,).

        Raises:
            DataError: an image is not in the store; the message says whether it was skipped, and why. Or its
                features are damaged: their checksum differs, or they are NaN or infinite.
        """
        try:
            rows = np.array([self._row_of[image_id] for image_id in ids], np.intp)
        except KeyError as error:
            image_id = error.args[0]
            reasons = [entry.reason for entry in self.skipped if entry.id == image_id]
            why = f"it was skipped: {reasons[0]}" if reasons else "extract features for it first."
            raise DataError(f'{self.folder}: no features of image "{image_id}"; {why}') from None
        features, counts = self._features[rows], self._counts[rows]
        for position in np.flatnonzero(~self._verified[rows]):
            self._verify(rows[position], features[position], counts[position])
        return features, counts

    def _verify(self, row: int, features: Halves, count: int) -> None:
        what = None
        if self._checksums is not None and row_checksum(features.data, count) != self._checksums[row]:
            what = "their checksum differs"
        elif not 0 <= count <= self.regions or not finite_rows(features[None])[0]:
            what = "NaN, infinity or an impossible number of regions"
        if what:
            raise self._damage(f'{self.folder}: the features of image "{self.ids[row]}" are damaged ({what})')
        self._verified[row] = True

    def check_rows(self) -> None:
        """Read all rows, which checks them.

        Raises:
            DataError: one is damaged; the message names its image.
        """
        for first in range(0, self.count, 256):
            self.rows(self.ids[first : first + 256])

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """Read images in any order as `Regions` (B, R, D), float16."""
        import torch

        from distilcap.shapes import Regions

        features, counts = self.rows(ids)
        mask = np.arange(self.regions) < counts[:, None]
        return Regions(torch.from_numpy(features), torch.from_numpy(mask))


def finite_rows(features: Halves) -> NDArray[np.bool_]:
    """Which rows of (B, R, D) float16 are free of NaN and infinity: (B,).

    By the bits of the exponent, 13 times as fast as `np.isfinite`.
    """
    magnitudes = features.view(np.uint16) & 0x7FFF
    return np.asarray(magnitudes.max(axis=(1, 2), initial=0) < 0x7C00)


def row_checksum(row: bytes | memoryview, count: int) -> int:
    """CRC-32 of an image's features and its number of real regions."""
    return zlib.crc32(int(count).to_bytes(2, "little", signed=True), zlib.crc32(row))


def safetensors_header(count: int, regions: int, dim: int) -> bytes:
    """The safetensors header, padded with blanks (as its format allows) to a fixed length."""
    end = 2 * count * regions * dim
    tensors = {
        "features": {"dtype": "F16", "shape": [count, regions, dim], "data_offsets": [0, end]},
        "counts": {"dtype": "I16", "shape": [count], "data_offsets": [end, end + 2 * count]},
    }
    length = HEADER_BYTES - 8
    return length.to_bytes(8, "little") + json.dumps(tensors).encode().ljust(length)


def store_bytes(count: int, regions: int, dim: int) -> int:
    """Bytes of the features of `count` images on disk."""
    return HEADER_BYTES + 2 * count * regions * dim + 2 * count


def readable_size(size: int) -> str:
    """Bytes for people: "3.9 GB"."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def check_space(folder: Path, size: int) -> None:
    """Make sure that `size` more bytes fit on the disk of `folder`.

    Raises:
        DataError: they do not; the message gives both numbers.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < size + _SPARE_BYTES:
        raise DataError(
            f"{folder}: needs {readable_size(size)} of disk, but only {readable_size(free)} are free; "
            "free some or choose another folder."
        )
