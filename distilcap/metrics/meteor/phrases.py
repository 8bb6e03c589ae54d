"""The table of paraphrases, compact: phrases are numbers, looked up by hashes of their bytes.

The official table is 272 MB of text in 5 million pairs. Here it is three arrays, built once (about ten
seconds) and kept in the user's cache, from where it is mapped into memory.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distilcap.errors import MissingError
from distilcap.files import atomic_path, cache_folder, sha256_of
from distilcap.progress import SILENT, Progress

__all__ = [
    "LONGEST",
    "Hashes",
    "Indices",
    "ParaphraseTable",
    "hash_spans",
    "hash_words",
    "load_paraphrases",
    "meteor_home",
]

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int32]

LONGEST: Final = 7
"""Words of the table's longest phrases."""

_BASE: Final = 0x9E3779B97F4A7C15
"""Odd, so that its powers have inverses modulo 2 ** 64."""

_CHUNK_BYTES: Final = 1 << 22
_FORMAT: Final = "1"


@dataclass(frozen=True)
class ParaphraseTable:
    """Pairs of phrases that mean the same.

    Attributes:
        phrases: (N,) hashes of all phrases, sorted.
        source: (E,) of each pair, the phrase: its index in `phrases`. In the official table's order.
        target: (E,) its paraphrase.
    """

    phrases: Hashes
    source: Indices
    target: Indices

    def within(self, phrases: npt.NDArray[np.int64]) -> tuple[ParaphraseTable, npt.NDArray[np.int64]]:
        """Keep the pairs whose phrases are both among these, (K,) indices; return their new indices too."""
        member = np.zeros(len(self.phrases), np.bool_)
        member[phrases] = True
        number = np.cumsum(member) - 1
        kept = np.flatnonzero(member[self.source] & member[self.target])
        source, target = (number[side[kept]].astype(np.int32) for side in (self.source, self.target))
        return ParaphraseTable(self.phrases[member], source, target), number[phrases]

    @staticmethod
    def read(file: BinaryIO | gzip.GzipFile) -> ParaphraseTable:
        """Read the official form: three lines a pair, namely probability, phrase, paraphrase."""
        hashes = np.concatenate([np.zeros(0, np.uint64), *_hash_lines(file)])
        hashes = hashes[: len(hashes) // 3 * 3].reshape(-1, 3)[:, 1:]
        phrases, index = np.unique(hashes, return_inverse=True)
        source, target = index.reshape(-1, 2).T.astype(np.int32)
        return ParaphraseTable(phrases, np.ascontiguousarray(source), np.ascontiguousarray(target))


def _hash_lines(file: BinaryIO | gzip.GzipFile) -> Iterator[Hashes]:
    """Yield the hashes of a file's lines, some at a time."""
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        yield _hash_chunk(np.frombuffer(lines + newline, np.uint8))
    if rest:
        yield _hash_chunk(np.frombuffer(rest + b"\n", np.uint8))


def _hash_chunk(text: npt.NDArray[np.uint8]) -> Hashes:
    """Hash whole lines: the sum of byte k of a line times base ** k, modulo 2 ** 64."""
    ends = np.flatnonzero(text == ord("\n"))
    if not len(ends):
        return np.zeros(0, np.uint64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    power = np.arange(len(text)) - np.repeat(starts, ends + 1 - starts)
    weighted = text * _powers(int(power.max()) + 1)[power]
    weighted[ends] = 0
    return np.add.reduceat(weighted, starts)


def _powers(count: int) -> Hashes:
    """base ** 0, base ** 1, … modulo 2 ** 64."""
    factors = np.full(count, _BASE, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def hash_words(words: Sequence[str]) -> tuple[Hashes, Hashes]:
    """Return each word's hash, and base ** (its bytes), by which what follows it is shifted."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    lengths = np.array([len(word) for word in encoded], dtype=np.int64)
    hashes = _hash_chunk(np.frombuffer(b"".join(word + b"\n" for word in encoded), np.uint8))
    return hashes, _powers(int(lengths.max(initial=0)) + 1)[lengths]


def hash_spans(hashes: Hashes, shifts: Hashes, length: int) -> Hashes:
    """Hash the `length` words from each position on, joined with spaces, from the hashes of the words."""
    space = np.uint64(ord(" "))
    base = np.uint64(_BASE)
    count = max(len(hashes) - length + 1, 0)
    spans, shift = hashes[:count], shifts[:count]
    for further in range(1, length):
        spans = spans + shift * (space + base * hashes[further : further + count])
        shift = shift * base * shifts[further : further + count]
    return spans


def meteor_home() -> Path:
    """The compact table's folder: $DISTILCAP_METEOR, or `meteor` in the user's cache."""
    return Path(os.environ.get("DISTILCAP_METEOR") or cache_folder() / "meteor")


def load_paraphrases(
    official: Path, home: Path | None = None, progress: Progress = SILENT
) -> ParaphraseTable:
    """Load the compact table, or build it and keep it if the folder can be written.

    Args:
        official: the table of the official program, `paraphrase-en.gz`.
        home: None takes `meteor_home()`.
        progress: reports that the table is built.

    Raises:
        MissingError: the official table is damaged.
    """
    path = (home or meteor_home()) / f"paraphrases-{sha256_of(official)[:16]}.safetensors"
    table = _open(path)
    if table is not None:
        return table
    progress.note("METEOR's table of paraphrases is made compact, once.")
    try:
        with gzip.open(official) as file:
            table = ParaphraseTable.read(file)
    except (OSError, EOFError, zlib.error) as error:
        raise MissingError(f"{official} is damaged ({error}): install pycocoevalcap again") from None
    try:
        with atomic_path(path) as scratch:
            arrays: dict[str, npt.NDArray[Any]] = {
                "phrases": table.phrases,
                "source": table.source,
                "target": table.target,
            }
            save_file(arrays, scratch, metadata={"format": _FORMAT, "crc32": _checksum(table)})
    except OSError as error:
        progress.note(f"METEOR's compact table cannot be kept ({error}): it is built anew each time.")
    return table


def _open(path: Path) -> ParaphraseTable | None:
    """Map a compact table into memory; None if there is none, or it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            table = ParaphraseTable(*(file.get_tensor(name) for name in ("phrases", "source", "target")))
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    whole = metadata.get("format") == _FORMAT and metadata.get("crc32") == _checksum(table)
    return table if whole else None


def _checksum(table: ParaphraseTable) -> str:
    arrays: tuple[npt.NDArray[Any], ...] = (table.phrases, table.source, table.target)
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(array.data.cast("B"), checksum)
    return str(checksum)
