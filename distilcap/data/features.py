"""`FeatureStore`: the regions of many images in one memory-mapped float16 file.

A store is a folder of two files: `features.safetensors` (tensors `features` (N, R, D) float16 and `counts`
(N,) int16, the real regions of each image) and `store.json` (image ids, skipped images, the recipe, a
checksum of each image's row and count). `store.json` is written last: with it the store is complete. Until
then `features.partial` holds the rows and `progress.jsonl` (a `RecordLog`) says which of them are safely on
disk, so that `FeatureWriter` goes on after a kill.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.errors import DataError
from distilcap.files import failures_named, read_checked_json, write_checked_json
from distilcap.progress import SILENT, Progress
from distilcap.record_log import RecordLog

if TYPE_CHECKING:
    from distilcap.shapes import Regions

__all__ = [
    "FeatureStore",
    "FeatureWriter",
    "Halves",
    "Skipped",
    "begun_bytes",
    "check_space",
    "finite_rows",
    "readable_size",
    "store_bytes",
]

Halves: TypeAlias = NDArray[np.float16]
Counts: TypeAlias = NDArray[np.int16]

_FEATURES, _STORE, _PARTIAL, _LOG = "features.safetensors", "store.json", "features.partial", "progress.jsonl"
_FORM = "distilcap features 2"  # 1 had no checksums
_HEADER_BYTES = 4096  # a whole page, so that rows begin on one
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
        recipe: how it was made, as `Encoder.recipe` tells it.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder = folder
        self.ids: tuple[str, ...] = tuple(content["ids"])
        self.count = len(self.ids)
        self.regions, self.dim = int(content["regions"]), int(content["dim"])
        self.skipped = tuple(Skipped(**one) for one in content["skipped"])
        self.recipe: dict[str, Any] = content["recipe"]
        self._row_of = {image_id: row for row, image_id in enumerate(self.ids)}
        checksums = content.get("crc32")
        self._checksums = None if checksums is None else np.array(checksums, np.uint32)
        self._verified = np.zeros(self.count, np.bool_)
        path = folder / _FEATURES
        size = store_bytes(self.count, self.regions, self.dim)
        if not path.is_file() or path.stat().st_size != size:
            raise self._damage(f"{path}: missing or not of {size} bytes")
        with path.open("rb") as file:
            if file.read(_HEADER_BYTES) != _header(self.count, self.regions, self.dim):
                raise self._damage(f"{path}: its header is damaged")
        shape = (self.count, self.regions, self.dim)
        # numpy cannot map an empty array; a plain view of the map is indexed faster than a `memmap`.
        self._features: Halves = (
            np.asarray(np.memmap(path, np.float16, "r", _HEADER_BYTES, shape))
            if self.count
            else np.empty(shape, np.float16)
        )
        end = _HEADER_BYTES + 2 * self.count * self.regions * self.dim
        self._counts: Counts = np.fromfile(path, np.int16, offset=end)

    def _damage(self, what: str) -> DataError:
        return DataError(f"{what}; delete {self.folder} and run the same command again.")

    @staticmethod
    def open(folder: Path) -> FeatureStore:
        """Open a complete store.

        Raises:
            DataError: it is missing, incomplete or damaged; the message says which.
        """
        path = folder / _STORE
        if not path.is_file() and (folder / _LOG).is_file():
            raise DataError(
                f"{folder}: feature extraction was broken off; run it again, it goes on from there."
            )
        try:
            return FeatureStore(folder, read_checked_json(path, _FORM))
        except (KeyError, TypeError):
            raise DataError(f"{path}: not the index of a feature store.") from None

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._row_of

    def rows(self, ids: Sequence[str]) -> tuple[Halves, Counts]:
        """Read images in any order: features (B, R, D) float16 and counts of real regions (B,).

        Raises:
            DataError: an image is not in the store; the message tells whether it was skipped, and why. Or its
                features are damaged: their checksum differs, or they are NaN or infinite.
        """
        try:
            rows = np.array([self._row_of[image_id] for image_id in ids], np.intp)
        except KeyError as error:
            image_id = error.args[0]
            reasons = [one.reason for one in self.skipped if one.id == image_id]
            why = f"it was skipped: {reasons[0]}" if reasons else "extract features for it first."
            raise DataError(f'{self.folder}: no features of image "{image_id}"; {why}') from None
        features, counts = self._features[rows], self._counts[rows]
        for position in np.flatnonzero(~self._verified[rows]):
            self._verify(rows[position], features[position], counts[position])
        return features, counts

    def _verify(self, row: int, features: Halves, count: int) -> None:
        what = None
        if self._checksums is not None and _checksum(features.data, count) != self._checksums[row]:
            what = "their checksum differs"
        elif not 0 <= count <= self.regions or not finite_rows(features[None])[0]:
            what = "NaN, infinity or an impossible number of regions"
        if what:
            raise self._damage(f'{self.folder}: the features of image "{self.ids[row]}" are damaged ({what})')
        self._verified[row] = True

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """Read images in any order as `Regions` (B, R, D), float16."""
        import torch

        from distilcap.shapes import Regions

        features, counts = self.rows(ids)
        mask = np.arange(self.regions) < counts[:, None]
        return Regions(torch.from_numpy(features), torch.from_numpy(mask))


class FeatureWriter:
    """Writes a store row by row; a new writer on the same folder goes on after the last `flush`.

    Rows that are no longer as they were written are cut away with all that follow: their images are to be
    added again.

    Args:
        folder: of the store; made if missing.
        recipe: JSON; one that differs from what the folder holds is refused.
        regions: most regions of an image (R).
        dim: features of a region (D).
        progress: receives a remark where damage was cut away.

    Raises:
        DataError: the folder holds a complete store, or one begun by another recipe, or another process is
            writing to it.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        regions: int,
        dim: int,
        progress: Progress = SILENT,
    ) -> None:
        self.folder, self.recipe, self.regions, self.dim = folder, dict(recipe), regions, dim
        self.ids: list[str] = []
        self.skipped: list[Skipped] = []
        self._counts: list[int] = []
        self._checksums: list[int] = []
        header = {"recipe": self.recipe, "regions": regions, "dim": dim}
        self._log = RecordLog(folder / _LOG, header, progress)
        if (folder / _STORE).exists():
            self._log.remove()
            raise DataError(f"{folder}: holds a complete feature store; choose another folder.")
        if not (folder / _PARTIAL).exists() and (folder / _FEATURES).exists():
            os.replace(folder / _FEATURES, folder / _PARTIAL)  # killed between the two last renames
        (folder / _PARTIAL).touch()
        self._rows = (folder / _PARTIAL).open("r+b")
        self._resume(progress)

    @property
    def _end(self) -> int:
        """Where the next row goes."""
        return _HEADER_BYTES + len(self.ids) * 2 * self.regions * self.dim

    def _resume(self, progress: Progress) -> None:
        """Take over the rows of the log's records, as far as they are whole."""
        self._rows.seek(_HEADER_BYTES)
        for number, record in enumerate(self._log.records):
            rows = zip(record["counts"], record["crc32"], strict=True)
            if any(_checksum(self._rows.read(2 * self.regions * self.dim), n) != crc for n, crc in rows):
                self._log.keep(number)
                progress.note(
                    f"{self.folder / _PARTIAL}: damaged; the features from image "
                    f'"{record["ids"][0]}" on are extracted again.'
                )
                break
            self._take(record)
        self._flushed = (len(self.ids), len(self.skipped))
        self._rows.truncate(self._end)  # rows after the last flush may be torn

    def _take(self, record: Mapping[str, Any]) -> None:
        self.ids += record["ids"]
        self._counts += record["counts"]
        self._checksums += record["crc32"]
        self.skipped += [Skipped(**one) for one in record["skipped"]]

    def add(self, ids: Sequence[str], features: Halves, counts: Sequence[int] | None = None) -> None:
        """Append the rows of images: features (B, R, D), of which the first `counts` are real (None: all).

        Raises:
            DataError: features are NaN or infinite in float16; the message names the image.
        """
        assert features.shape == (len(ids), self.regions, self.dim), features.shape
        rows = np.ascontiguousarray(features, np.float16)
        for image_id, finite in zip(ids, finite_rows(rows), strict=True):
            if not finite:
                raise DataError(f'{self.folder}: the features of image "{image_id}" are NaN or infinite.')
        with failures_named(self.folder):
            self._rows.seek(self._end)  # not where a failure left it
            self._rows.write(rows.data)
        numbers = [self.regions] * len(ids) if counts is None else list(counts)
        self._checksums += [_checksum(row.data, count) for row, count in zip(rows, numbers, strict=True)]
        self._counts += numbers
        self.ids += ids

    def skip(self, image: Skipped) -> None:
        """Note an image that gives no features."""
        self.skipped.append(image)

    def flush(self) -> None:
        """Bring everything so far safely to disk: the rows first, then the record that vouches for them."""
        rows, skipped = self._flushed
        if self._flushed == (len(self.ids), len(self.skipped)):
            return
        with failures_named(self.folder):
            self._rows.flush()
            os.fsync(self._rows.fileno())
        self._log.append(
            {
                "ids": self.ids[rows:],
                "counts": self._counts[rows:],
                "crc32": self._checksums[rows:],
                "skipped": [vars(one) for one in self.skipped[skipped:]],
            }
        )
        self._flushed = (len(self.ids), len(self.skipped))

    def close(self) -> None:
        """Flush and leave the store to be gone on with."""
        try:
            if not self._rows.closed:
                self.flush()
        finally:
            self._rows.close()
            self._log.close()

    def finish(self) -> FeatureStore:
        """Complete the store and open it."""
        self.flush()
        with failures_named(self.folder):
            self._rows.seek(self._end)
            self._rows.write(np.array(self._counts, np.int16).data)
            self._rows.seek(0)
            self._rows.write(_header(len(self.ids), self.regions, self.dim))
            self._rows.flush()
            os.fsync(self._rows.fileno())
        self._rows.close()
        os.replace(self.folder / _PARTIAL, self.folder / _FEATURES)
        content = {
            "format": _FORM,
            "regions": self.regions,
            "dim": self.dim,
            "recipe": self.recipe,
            "skipped": [vars(one) for one in self.skipped],
            "ids": self.ids,
            "crc32": self._checksums,
        }
        write_checked_json(self.folder / _STORE, content)
        self._log.remove()
        return FeatureStore.open(self.folder)


def finite_rows(features: Halves) -> NDArray[np.bool_]:
    """Which rows of (B, R, D) float16 are free of NaN and infinity: (B,).

    By the bits of the exponent, 13 times as fast as `np.isfinite`.
    """
    magnitudes = features.reshape(len(features), -1).view(np.uint16) & 0x7FFF
    return np.asarray(magnitudes.max(axis=1, initial=0) < 0x7C00)


def _checksum(row: bytes | memoryview, count: int) -> int:
    """CRC-32 of an image's features and its number of real regions."""
    return zlib.crc32(int(count).to_bytes(2, "little", signed=True), zlib.crc32(row))


def _header(count: int, regions: int, dim: int) -> bytes:
    """The safetensors header, padded with blanks (as its format allows) to a fixed length."""
    end = 2 * count * regions * dim
    tensors = {
        "features": {"dtype": "F16", "shape": [count, regions, dim], "data_offsets": [0, end]},
        "counts": {"dtype": "I16", "shape": [count], "data_offsets": [end, end + 2 * count]},
    }
    length = _HEADER_BYTES - 8
    return length.to_bytes(8, "little") + json.dumps(tensors).encode().ljust(length)


def store_bytes(count: int, regions: int, dim: int) -> int:
    """Bytes of the features of `count` images on disk."""
    return _HEADER_BYTES + 2 * count * regions * dim + 2 * count


def begun_bytes(folder: Path) -> int:
    """Bytes that an unfinished store at `folder` has on disk already."""
    path = folder / _PARTIAL
    return path.stat().st_size if path.exists() else 0


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
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < size + _SPARE_BYTES:
        raise DataError(
            f"{folder}: needs {readable_size(size)} of disk, but only {readable_size(free)} are free; "
            "free some or choose another folder."
        )
