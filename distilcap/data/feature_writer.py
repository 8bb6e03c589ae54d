"""`FeatureWriter`: makes a `FeatureStore` row by row, and goes on after a kill.

`features.partial` holds the rows, and `progress.jsonl` (a `RecordLog`) says which of them are safely on disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from distilcap.data.features import (
    FEATURES,
    FORM,
    HEADER_BYTES,
    LOG,
    STORE,
    FeatureStore,
    Halves,
    Skipped,
    finite_rows,
    row_checksum,
    safetensors_header,
)
from distilcap.errors import DataError
from distilcap.files import expected, failures_named, parse_json
from distilcap.integrity import write_sealed_json
from distilcap.progress import SILENT, Progress
from distilcap.record_log import RecordLog

__all__ = ["FeatureWriter", "begun_bytes", "begun_recipe"]

PARTIAL = "features.partial"


class FeatureWriter:
    """Writes a store row by row; a new writer on the same folder goes on after the last `flush`.

    Rows that are no longer as they were written are cut away with all that follow: their images are to be
    added again.

    Args:
        folder: of the store; made if missing.
        recipe: JSON; refused if it differs from the recipe in the folder.
        regions: most regions of an image (R).
        dim: features of a region (D).
        progress: receives a remark where damage was cut away.

    Raises:
        DataError: the folder holds a complete store, or a store begun by another recipe, or another process
            is writing to it.
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
        self._files: list[str] = []
        self.copied = 0
        header = {"recipe": self.recipe, "regions": regions, "dim": dim}
        with contextlib.ExitStack() as opened:
            self._log = opened.enter_context(RecordLog(folder / LOG, header, progress))
            self._rows = opened.enter_context(self._open())
            with expected(folder / LOG, f"a log of this extraction; delete {folder}"):
                self._resume(progress)
            opened.pop_all()  # they stay open

    def _open(self) -> IO[bytes]:
        if (self.folder / STORE).exists():
            self._log.remove()
            raise DataError(f"{self.folder}: holds a complete feature store; choose another folder.")
        path = self.folder / PARTIAL
        if not path.exists() and (self.folder / FEATURES).exists():
            os.replace(self.folder / FEATURES, path)  # killed between the two last renames
        path.touch()
        return path.open("r+b")

    @property
    def _end(self) -> int:
        """Where the next row goes."""
        return HEADER_BYTES + len(self.ids) * 2 * self.regions * self.dim

    def _resume(self, progress: Progress) -> None:
        """Take over the rows of the log's records while they are whole; skipped images are tried again."""
        self._rows.seek(HEADER_BYTES)
        for number, record in enumerate(self._log.records):
            rows = zip(record["counts"], record["crc32"], strict=True)
            if any(row_checksum(self._rows.read(2 * self.regions * self.dim), n) != crc for n, crc in rows):
                self._log.keep(number)
                progress.note(
                    f"{self.folder / PARTIAL}: damaged; the features from image "
                    f'"{record["ids"][0]}" on are extracted again.'
                )
                break
            self._take(record)
        self._flushed = (len(self.ids), self.copied)
        self._rows.truncate(self._end)  # rows after the last flush may be torn

    def _take(self, record: Mapping[str, Any]) -> None:
        self.ids += record["ids"]
        self._counts += record["counts"]
        self._checksums += record["crc32"]
        self._files += record.get("files", [""] * len(record["ids"]))  # older versions did not write them
        self.copied += record.get("copied", 0)

    def add(
        self,
        ids: Sequence[str],
        features: Halves,
        counts: Sequence[int] | None = None,
        files: Sequence[str] | None = None,
        copied: bool = False,
    ) -> None:
        """Append the rows of images: features (B, R, D), of which the first `counts` are real (None: all).

        Args:
            files: the SHA-256 of each image's file; None is not known.
            copied: they are from another store.

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
        self._checksums += [row_checksum(row.data, count) for row, count in zip(rows, numbers, strict=True)]
        self._counts += numbers
        self._files += [""] * len(ids) if files is None else files
        self.copied += len(ids) * copied
        self.ids += ids

    def skip(self, image: Skipped) -> None:
        """Note an image that gives no features."""
        self.skipped.append(image)

    def flush(self) -> None:
        """Bring everything so far safely to disk: the rows first, then the record that vouches for them."""
        rows, copied = self._flushed
        if rows == len(self.ids):
            return
        with failures_named(self.folder):
            self._rows.flush()
            os.fsync(self._rows.fileno())
        self._log.append(
            {
                "ids": self.ids[rows:],
                "counts": self._counts[rows:],
                "crc32": self._checksums[rows:],
                "files": self._files[rows:],
                "copied": self.copied - copied,
            }
        )
        self._flushed = (len(self.ids), self.copied)

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
            self._rows.write(safetensors_header(len(self.ids), self.regions, self.dim))
            self._rows.flush()
            os.fsync(self._rows.fileno())
        self._rows.close()
        os.replace(self.folder / PARTIAL, self.folder / FEATURES)
        content = {
            "format": FORM,
            "regions": self.regions,
            "dim": self.dim,
            "recipe": self.recipe,
            "skipped": [vars(image) for image in self.skipped],
            "ids": self.ids,
            "crc32": self._checksums,
            "files": self._files,
            "copied": self.copied,
        }
        write_sealed_json(self.folder / STORE, content)
        self._log.remove()
        return FeatureStore.open(self.folder)


def begun_recipe(folder: Path) -> Any:
    """The recipe of the features that lie in a folder, whole or begun; None if there are none."""
    if (folder / STORE).is_file():
        return FeatureStore.open(folder).recipe
    try:
        with (folder / LOG).open("rb") as log:
            _, _, header = log.readline().partition(b" ")
        return parse_json(header, folder / LOG)["recipe"]
    except (OSError, DataError, LookupError, TypeError):  # the log is begun anew then
        return None


def begun_bytes(folder: Path) -> int:
    """Bytes that an unfinished store at `folder` has on disk already."""
    path = folder / PARTIAL
    return path.stat().st_size if path.exists() else 0
