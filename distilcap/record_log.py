"""`RecordLog`: what a long job has done so far, on disk, so that a killed job goes on where it was.

Each line is a checksum and a JSON record; the first record is the header, which says what the job is. A
checksum covers its record and the checksum before it, so a line that was changed, removed, swapped or doubled
is noticed, and the records that a log gives are always the first that were written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distilcap.errors import DataError
from distilcap.files import failures_named, parse_json, write_bytes
from distilcap.locks import LockedError, is_at, lock
from distilcap.progress import SILENT, Progress

__all__ = ["RecordLog", "check_options", "header_of"]

_FIX = "take another folder, or delete it"


class RecordLog:
    """A log that one process at a time writes to; opened again, it goes on after its last whole record.

    A torn last line, as a kill leaves it, is cut away. So is everything from a damaged line on, with a
    remark: that work is done again.

    Attributes:
        path: where it lies.
        records: all records after the header, in order.

    Args:
        header: what decides the records, as JSON.
        progress: receives the remark.
        fix: what a person does who wants another header.

    Raises:
        DataError: another process has it open, or it has another header. ConfigError: it cannot be locked.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], progress: Progress = SILENT, fix: str = _FIX
    ) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open(progress)
        try:
            if self.records:
                check_options(path, self.records.pop(0), header, fix)
            else:
                self.append(header)
                self.records.clear()
        except BaseException:
            self._file.close()
            raise

    def _open(self, progress: Progress) -> None:
        """Lock the file, and read all that is whole in it, with the header."""
        self.records: list[Any] = []
        self._ends = [(0, b"")]  # offset and checksum where each line ends, with the file's beginning
        self._file = self.path.open("a+b", buffering=0)
        try:
            lock(self._file.fileno(), self.path)
            if not is_at(self._file.fileno(), Path(os.path.realpath(self.path))):
                raise LockedError(self.path)  # its process has replaced or removed it since it was opened
            self._read(progress)
        except BaseException:
            self._file.close()
            raise

    def _read(self, progress: Progress) -> None:
        self._file.seek(0)
        lines = self._file.read().split(b"\n")[:-1]  # what follows the last line end is torn
        for number, line in enumerate(lines, 1):
            end, checksum = self._ends[-1]
            written, _, record = line.partition(b" ")
            if written != _checksum(checksum, record):
                progress.note(
                    f"{self.path}: damaged in line {number}, or of an earlier version; "
                    "what was done from there on is done again."
                )
                break
            self.records.append(parse_json(record, f"{self.path}:{number}"))
            self._ends.append((end + len(line) + 1, written))
        self._file.truncate(self._ends[-1][0])

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record and bring it safely to disk."""
        end, checksum = self._ends[-1]
        checksum, line = _line(checksum, record)
        with failures_named(self.path):
            self._file.truncate(end)  # what an earlier failure left
            rest = memoryview(line)
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        self._ends.append((end + len(line), checksum))
        self.records.append(json.loads(line.partition(b" ")[2]))

    def keep(self, count: int) -> None:
        """Cut away all but the first `count` records."""
        del self.records[count:], self._ends[count + 2 :]
        self._file.truncate(self._ends[-1][0])

    def rewrite(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Replace all records at once: a kill leaves those that were there, or the new ones.

        Raises:
            OSError: the disk is full; the log is as it was. DataError: another process was faster.
        """
        end, checksum = self._ends[1]
        self._file.seek(0)
        lines = [self._file.read(end)]
        for record in records:
            checksum, line = _line(checksum, record)
            lines.append(line)
        write_bytes(self.path, b"".join(lines))
        self.close()
        self._open(SILENT)
        del self.records[0]

    def remove(self) -> None:
        """Delete the log: its work is complete."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the log, so that another process may open it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def header_of(path: Path) -> Any:
    """What a log's header says, whoever has it open; None where it is damaged, or there is none."""
    try:
        with path.open("rb") as file:
            written, _, record = file.readline().rstrip(b"\n").partition(b" ")
    except OSError:
        return None
    return parse_json(record, path) if written == _checksum(b"", record) else None


def _line(before: bytes, record: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The checksum of a record behind the checksum `before` it, and its line."""
    content = json.dumps(record, allow_nan=False).encode()
    checksum = _checksum(before, content)
    return checksum, checksum + b" " + content + b"\n"


def _checksum(before: bytes, content: bytes) -> bytes:
    """16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(before + b" " + content).hexdigest()[:16].encode()


def check_options(path: Path, begun: Any, now: Mapping[str, Any], fix: str = _FIX) -> None:
    """Make sure that a job goes on with the options that it was begun with.

    Raises:
        DataError: they differ; the message says in what.
    """
    now = json.loads(json.dumps(now))
    if begun == now:
        return
    begun = begun if isinstance(begun, dict) else {}
    names = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    changes = ", ".join(f"{name}: {begun.get(name)!r}, now {now.get(name)!r}" for name in names)
    raise DataError(f"{path}: begun with other options ({changes}); {fix}.")
