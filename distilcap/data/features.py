"""`FeatureStore`: the regions of many images in one memory-mapped float16 file.

A store is a folder of two files: `features.safetensors` (tensors `features` (N, R, D) float16 and `counts`
(N,) int16, the real regions of each image) and `store.json` (image ids, skipped images, the recipe).
`store.json` is written last: with it the store is complete. Until then `features.partial` holds the rows and
`progress.jsonl` says which of them are safely on disk, so that `FeatureWriter` goes on after a kill.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.errors import DataError
from distilcap.files import read_json, write_json

if TYPE_CHECKING:
    from distilcap.shapes import Regions

__all__ = [
    "FeatureStore",
    "FeatureWriter",
    "Halves",
    "Skipped",
    "begun_bytes",
    "check_space",
    "readable_size",
    "store_bytes",
]

Halves: TypeAlias = NDArray[np.float16]
Counts: TypeAlias = NDArray[np.int16]

_FEATURES, _STORE, _PARTIAL, _LOG = "features.safetensors", "store.json", "features.partial", "progress.jsonl"
_HEADER_BYTES = 4096  # a whole page, so that rows begin on one
_SPARE_BYTES = 64 << 20  # left free on the disk for everything else


@dataclass(frozen=True)
class Skipped:
    """An image that gave no features, and why."""

    id: str
    reason: str


class FeatureStore:
    """Reads a complete store; rows come from disk as they are asked for.

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
        path = folder / _FEATURES
        size = store_bytes(self.count, self.regions, self.dim)
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(f"{path}: missing or not of {size} bytes; delete {folder} and extract again.")
        shape = (self.count, self.regions, self.dim)
        # numpy cannot map an empty array; a plain view of the map is indexed faster than a `memmap`.
        self._features: Halves = (
            np.asarray(np.memmap(path, np.float16, "r", _HEADER_BYTES, shape))
            if self.count
            else np.empty(shape, np.float16)
        )
        end = _HEADER_BYTES + 2 * self.count * self.regions * self.dim
        self._counts: Counts = np.fromfile(path, np.int16, offset=end)

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
        content = read_json(path)
        try:
            return FeatureStore(folder, content)
        except (KeyError, TypeError):
            raise DataError(f"{path}: not the index of a feature store.") from None

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._row_of

    def rows(self, ids: Sequence[str]) -> tuple[Halves, Counts]:
        """Read images in any order: features (B, R, D) float16 and counts of real regions (B,).

        Raises:
            DataError: an image is not in the store; the message tells whether it was skipped, and why.
        """
        try:
            rows = [self._row_of[image_id] for image_id in ids]
        except KeyError as error:
            image_id = error.args[0]
            reasons = [one.reason for one in self.skipped if one.id == image_id]
            why = f"it was skipped: {reasons[0]}" if reasons else "extract features for it first."
            raise DataError(f'{self.folder}: no features of image "{image_id}"; {why}') from None
        return self._features[rows], self._counts[rows]

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """Read images in any order as `Regions` (B, R, D), float16."""
        import torch

        from distilcap.shapes import Regions

        features, counts = self.rows(ids)
        mask = np.arange(self.regions) < counts[:, None]
        return Regions(torch.from_numpy(features), torch.from_numpy(mask))


class FeatureWriter:
    """Writes a store row by row; a new writer on the same folder goes on after the last `flush`.

    Args:
        folder: of the store; made if missing.
        recipe: JSON; one that differs from what the folder holds is refused.
        regions: most regions of an image (R).
        dim: features of a region (D).

    Raises:
        DataError: the folder holds a complete store, or one begun by another recipe.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any], regions: int, dim: int) -> None:
        self.folder, self.recipe, self.regions, self.dim = folder, dict(recipe), regions, dim
        self.ids: list[str] = []
        self.skipped: list[Skipped] = []
        self._counts: list[int] = []
        self._flushed = (0, 0)
        if (folder / _STORE).exists():
            raise DataError(f"{folder}: holds a complete feature store; choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _LOG).exists():
            self._resume()
        else:
            with (folder / _LOG).open("w", encoding="utf-8") as log:
                log.write(self._first_line() + "\n")
            (folder / _PARTIAL).write_bytes(b"")
        self._rows = (folder / _PARTIAL).open("r+b")
        end = _HEADER_BYTES + len(self.ids) * self._row_bytes
        self._rows.truncate(end)  # rows after the last flush may be torn
        self._rows.seek(end)

    @property
    def _row_bytes(self) -> int:
        return 2 * self.regions * self.dim

    def _first_line(self) -> str:
        shape = {"recipe": self.recipe, "regions": self.regions, "dim": self.dim}
        return json.dumps(shape, sort_keys=True, ensure_ascii=False)

    def _resume(self) -> None:
        # A kill may have torn the last line: it counts only with its line end.
        # Decoded here: reading as text would take a torn "\r" for a line end.
        lines = (self.folder / _LOG).read_bytes().decode("utf-8", "replace").split("\n")[:-1]
        if not lines or lines[0] != self._first_line():
            raise DataError(
                f"{self.folder}: holds features begun by another recipe; choose another folder or delete it."
            )
        for line in lines[1:]:
            record = json.loads(line)
            self.ids += record["ids"]
            self._counts += record["counts"]
            self.skipped += [Skipped(**one) for one in record["skipped"]]
        self._flushed = (len(self.ids), len(self.skipped))
        with (self.folder / _LOG).open("w", encoding="utf-8") as log:
            log.write("".join(line + "\n" for line in lines))
        if not (self.folder / _PARTIAL).exists():  # killed between the two last renames
            os.replace(self.folder / _FEATURES, self.folder / _PARTIAL)

    def add(self, ids: Sequence[str], features: Halves, counts: Sequence[int] | None = None) -> None:
        """Append the rows of images: features (B, R, D), of which the first `counts` are real (None: all)."""
        assert features.shape == (len(ids), self.regions, self.dim), features.shape
        with _full_disk_named(self.folder):
            self._rows.write(np.ascontiguousarray(features, np.float16).tobytes())
        self.ids += ids
        self._counts += [self.regions] * len(ids) if counts is None else counts

    def skip(self, image: Skipped) -> None:
        """Note an image that gives no features."""
        self.skipped.append(image)

    def flush(self) -> None:
        """Bring everything so far safely to disk: the rows first, then the line that vouches for them."""
        rows, skipped = self._flushed
        if self._flushed == (len(self.ids), len(self.skipped)):
            return
        record = {
            "ids": self.ids[rows:],
            "counts": self._counts[rows:],
            "skipped": [vars(one) for one in self.skipped[skipped:]],
        }
        with _full_disk_named(self.folder):
            self._rows.flush()
            os.fsync(self._rows.fileno())
            with (self.folder / _LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(record, ensure_ascii=False) + "\n")
                log.flush()
                os.fsync(log.fileno())
        self._flushed = (len(self.ids), len(self.skipped))

    def close(self) -> None:
        """Flush and leave the store to be gone on with."""
        self.flush()
        self._rows.close()

    def finish(self) -> FeatureStore:
        """Complete the store and open it."""
        self.flush()
        with _full_disk_named(self.folder):
            self._rows.write(np.array(self._counts, np.int16).tobytes())
            self._rows.seek(0)
            self._rows.write(_header(len(self.ids), self.regions, self.dim))
            self._rows.flush()
            os.fsync(self._rows.fileno())
        self._rows.close()
        os.replace(self.folder / _PARTIAL, self.folder / _FEATURES)
        content = {
            "format": "distilcap features 1",
            "regions": self.regions,
            "dim": self.dim,
            "recipe": self.recipe,
            "skipped": [vars(one) for one in self.skipped],
            "ids": self.ids,
        }
        write_json(self.folder / _STORE, content)
        (self.folder / _LOG).unlink()
        return FeatureStore.open(self.folder)


def _header(count: int, regions: int, dim: int) -> bytes:
    """The safetensors header, padded with blanks (as its format allows) to a fixed length."""
    end = 2 * count * regions * dim
    tensors = {
        "features": {"dtype": "F16", "shape": [count, regions, dim], "data_offsets": [0, end]},
        "counts": {"dtype": "I16", "shape": [count], "data_offsets": [end, end + 2 * count]},
    }
    length = _HEADER_BYTES - 8
    return length.to_bytes(8, "little") + json.dumps(tensors).encode().ljust(length)


@contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DataError(
            f"{folder}: the disk is full; free some and run again, it goes on from there."
        ) from None


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
