"""`RecordLog`: whatever happens to the file, the records that it gives are the first that were written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distilcap import record_log
from distilcap.errors import DataError
from distilcap.locks import LockedError, lock
from distilcap.progress import Silent
from distilcap.record_log import RecordLog, header_of

HEADER = {"beam": 3, "model": "ü"}
RECORDS = [{"ids": [f"image{number}", "\u2028 \r"], "score": number / 7} for number in range(5)]


class Remarks(Silent):
    """A `Progress` that remembers its remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module", autouse=True)
def no_disk() -> Iterator[None]:
    """These logs need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def written(path: Path) -> bytes:
    with RecordLog(path, HEADER) as log:
        for record in RECORDS:
            log.append(record)
        assert log.records == RECORDS
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("log") / "log.jsonl")


def reopened(path: Path, content: bytes) -> tuple[int, list[str]]:
    """How many records are left of a damaged log; they are the first ones, and the log goes on after them."""
    path.write_bytes(content)
    remarks = Remarks()
    with RecordLog(path, HEADER, remarks) as log:
        count = len(log.records)
        assert log.records == RECORDS[:count]
        log.append({"new": 1})
    with RecordLog(path, HEADER) as log:
        assert log.records == [*RECORDS[:count], {"new": 1}]
    return count, remarks.notes


def test_every_cut_gives_the_whole_records_before_it(tmp_path: Path, whole: bytes) -> None:
    for end in range(len(whole)):
        count, notes = reopened(tmp_path / "log.jsonl", whole[:end])
        assert count == max(0, whole[:end].count(b"\n") - 1)
        assert not notes  # a kill leaves such a tail, which is no damage


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.data())
def test_a_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
    path = tmp_path_factory.getbasetemp() / "flipped.jsonl"
    count, notes = reopened(path, whole[:position] + bytes([value]) + whole[position + 1 :])
    assert count == max(0, whole[:position].count(b"\n") - 1)
    if position < len(whole) - 1:
        line = whole[:position].count(b"\n") + 1
        assert [f": damaged in line {line}, or of an earlier version; " in note for note in notes] == [True]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, len(RECORDS)), max_size=9))
@example([0, 1, 2, 4, 5])  # removed
@example([0, 1, 3, 2, 4, 5])  # swapped
@example([0, 1, 1, 2, 3, 4, 5])  # doubled
def test_lines_in_another_order_are_noticed(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, order: list[int]
) -> None:
    lines = whole.splitlines(keepends=True)
    kept = next((n for n, line in enumerate(order) if line != n), len(order))
    path = tmp_path_factory.getbasetemp() / "reordered.jsonl"
    count, notes = reopened(path, b"".join(lines[line] for line in order))
    assert count == max(0, kept - 1)
    assert bool(notes) == (kept < len(order))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 6))
def test_garbage_is_cut_away(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, garbage: bytes, before: int
) -> None:
    lines = whole.splitlines(keepends=True)
    path = tmp_path_factory.getbasetemp() / "garbage.jsonl"
    count, _ = reopened(path, b"".join([*lines[:before], garbage + b"\n", *lines[before:]]))
    assert count == max(0, before - 1)


def test_a_log_of_an_earlier_version_is_begun_again_with_a_remark(tmp_path: Path) -> None:
    old = b'{"recipe": {"beam": 3}}\n{"image": "a", "captions": []}\n'
    count, notes = reopened(tmp_path / "log.jsonl", old)
    assert count == 0
    assert "log.jsonl: damaged in line 1, or of an earlier version" in notes[0]


def test_another_header_is_refused(tmp_path: Path) -> None:
    content = written(tmp_path / "log.jsonl")
    with pytest.raises(DataError, match=r"begun with other options \(beam: 3, now 5\); take another folder"):
        RecordLog(tmp_path / "log.jsonl", HEADER | {"beam": 5})
    assert (tmp_path / "log.jsonl").read_bytes() == content


def test_records_may_be_given_back(tmp_path: Path) -> None:
    written(tmp_path / "log.jsonl")
    with RecordLog(tmp_path / "log.jsonl", HEADER) as log:
        log.keep(2)
        log.append({"new": 1})
    with RecordLog(tmp_path / "log.jsonl", HEADER) as log:
        assert log.records == [*RECORDS[:2], {"new": 1}]
        log.remove()
    assert not list(tmp_path.iterdir())


def test_a_log_is_rewritten_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(path := tmp_path / "log.jsonl")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RecordLog(path, HEADER) as log:
        for name in ("fsync", "replace"):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, full)
                with pytest.raises(OSError, match=r"No space left on device: .*log\.jsonl"):
                    log.rewrite(RECORDS[:2])
            assert (path.read_bytes(), log.records) == (content, RECORDS)
        log.rewrite(RECORDS[3:])
        assert log.records == RECORDS[3:]
        log.append(RECORDS[0])
    with RecordLog(path, HEADER) as log:
        assert log.records == [*RECORDS[3:], RECORDS[0]]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("end", [lambda log: log.rewrite(RECORDS[:1]), RecordLog.remove])
def test_a_log_that_was_replaced_while_it_was_opened_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[RecordLog], None]
) -> None:
    """The other process has it open, and its lock is free, but it is no longer the file of that name."""
    first = RecordLog(path := tmp_path / "log.jsonl", HEADER)

    def locked(handle: int, where: Path) -> None:
        monkeypatch.undo()
        end(first)
        first.close()
        lock(handle, where)

    monkeypatch.setattr(record_log, "lock", locked)
    with pytest.raises(LockedError):
        RecordLog(path, HEADER)


def test_a_failed_append_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RecordLog(tmp_path / "log.jsonl", HEADER) as log:
        log.append(RECORDS[0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=r"No space left on device: .*log\.jsonl"):
                log.append({"lost": 1})
        log.append(RECORDS[1])
        assert log.records == RECORDS[:2]
    with RecordLog(tmp_path / "log.jsonl", HEADER) as log:
        assert log.records == RECORDS[:2]


SECOND = """
import sys
from collections.abc import Iterator
from pathlib import Path
from distilcap.errors import DataError
from distilcap.record_log import RecordLog, header_of
try:
    RecordLog(Path(sys.argv[1]), {"beam": 3, "model": "ü"})
except DataError as error:
    print(error)
"""


def test_a_header_is_read_beside_the_process_that_writes_and_only_whole(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "log.jsonl"
    assert header_of(path) is None
    with RecordLog(path, HEADER):
        assert header_of(path) == HEADER
    for damaged in (b"", whole[:20], whole.replace(b'"beam": 3', b'"beam": 5', 1)):
        path.write_bytes(damaged)
        assert header_of(path) is None


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with RecordLog(path, HEADER) as log:
        log.append(RECORDS[0])
        second = subprocess.run(
            [sys.executable, "-c", SECOND, path], capture_output=True, text=True, check=True
        )
        assert second.stdout.startswith(f"{path}: another process is at this; wait until it ends")
        assert second.stdout.count("\n") == 1
    with RecordLog(path, HEADER) as log:
        assert log.records == RECORDS[:1]
