"""Locks: of one process, seen by every machine, and gone with the folder that they are of."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest

from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError
from distilcap.export.folders import scratch_folder, whole_folder
from distilcap.locks import LOCK, LockedError, lock, lock_folder, remove_locked
from distilcap.record_log import RecordLog
from distilcap.stages.data import ImportData
from distilcap.store.contents import contents
from distilcap.store.pack import import_results
from distilcap.store.store import Store
from distilcap.teachers.listing import list_ahead

flock = fcntl.flock


@pytest.fixture
def nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks as Linux has them on NFS: of folders only this machine knows, which is as if there were none, and
    whoever wants a file alone has opened it for writing (flock(2), fs/nfs/file.c)."""

    def on_nfs(handle: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            return
        reading = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if how & fcntl.LOCK_EX and reading:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", on_nfs)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def none(handle: int, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", none)


@pytest.mark.usefixtures("nfs")
def test_two_machines_that_write_beside_each_other_leave_each_other_alone(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "first", "mark") as first:
        (first / "mark").write_text("first")
        with whole_folder(tmp_path / "second", "mark") as second:
            assert (first / "mark").exists()
            (second / "mark").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "first",
        "first/mark",
        "second",
        "second/mark",
    ]


@pytest.mark.usefixtures("nfs")
def test_two_machines_do_not_list_into_one_folder(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (2, 1, 1), size=32)
    images, to = tmp_path / "scenes" / "images", tmp_path / "labels"
    with (
        list_ahead(images, to, 2),
        pytest.raises(DataError, match=r"\.lists: another process is at this"),
        list_ahead(images, to, 2),
    ):
        pass
    assert list(to.iterdir()) == []


def test_a_lock_on_a_file_that_its_holder_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened before it was removed, locked after: somebody else may make the folder anew and lock it, too."""

    def late(handle: int, how: int) -> None:
        shutil.rmtree(tmp_path / "lists")
        flock(handle, how)

    (tmp_path / "lists").mkdir()
    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(LockedError):
        lock_folder(tmp_path / "lists")
    monkeypatch.undo()
    (tmp_path / "lists").mkdir()
    held = lock_folder(tmp_path / "lists")
    assert os.listdir(tmp_path / "lists") == [LOCK]
    remove_locked(tmp_path / "lists", held)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_being_removed_is_still_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = tmp_path / "lists", list[str]()
    (folder / "part").mkdir(parents=True)
    for name in ("a", "z", "part/b"):
        (folder / name).touch()
    held, unlink = lock_folder(folder), os.unlink

    def looked_at(path: Path, **folder_of: int) -> None:
        name = os.path.basename(path)
        if name != LOCK:
            with pytest.raises(LockedError):
                lock_folder(folder)
        seen.append(name)
        unlink(path, **folder_of)

    monkeypatch.setattr(os, "unlink", looked_at)
    remove_locked(folder, held)
    assert sorted(seen[:-1]) == ["a", "b", "z"]
    assert seen[-1] == LOCK
    assert not folder.exists()


def test_many_share_a_lock_that_nobody_has_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as first, path.open("rb") as second, path.open("r+b") as third:
        for file in (first, second):
            lock(file.fileno(), path, shared=True)
        with pytest.raises(LockedError):
            lock(third.fileno(), path)


@pytest.mark.usefixtures("without")
def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (2, 1, 1), size=32)
    data = ImportData.of(tmp_path / "scenes")
    says = r": cannot be locked \(Function not implemented\).*; name a folder on a file system that has locks"
    with pytest.raises(ConfigError, match=rf"{tmp_path / 'store'}.*{data.key}{says}"):
        Store(tmp_path / "store").build(data)
    assert contents(tmp_path / "store") == []
    with pytest.raises(ConfigError, match=says):
        import_results(tmp_path / "pack.tar.gz", tmp_path / "store")
    with pytest.raises(ConfigError, match=rf"{tmp_path / 'log'}{says}"):
        RecordLog(tmp_path / "log", {})
    with scratch_folder(tmp_path / "here") as scratch:  # needs none: nobody takes it for a leftover
        assert scratch.is_dir()
    assert list((tmp_path / "here").iterdir()) == []
