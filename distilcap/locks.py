"""Locks on files, which hold until the file is closed or its process ends, however it ends.

Each is on a regular file: to folders NFS gives locks that no other machine sees, and to files that are open
for reading alone only shared ones.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from distilcap.errors import ConfigError, DataError

__all__ = ["LOCK", "LockedError", "is_at", "lock", "lock_folder", "remove_locked"]

LOCK: Final = ".lock"
"""The file by which a folder is locked, inside it: it goes with the folder."""


class LockedError(DataError):
    """Another process holds the lock."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: another process is at this; wait until it ends, or give each process a folder or a "
            "shard of its own."
        )


def lock(handle: int, path: Path, wait: bool = False, shared: bool = False) -> None:
    """Lock an open file.

    Args:
        path: for messages.
        wait: until others let go of it.
        shared: with others who ask for no more: a way to see whether somebody holds it alone.

    Raises:
        LockedError: another process has it.
        ConfigError: the file system has no locks.
    """
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise LockedError(path) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be locked ({error.strerror}), which keeps two processes apart; name a folder on "
            "a file system that has locks (`flock`)."
        ) from error


def lock_folder(folder: Path) -> int:
    """Lock a folder, by a file in it, until the handle that is returned is closed.

    Raises:
        LockedError: another process has it, or has just removed it.
        OSError: there is no such folder, or it cannot be written. ConfigError: as `lock`.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        lock(handle, folder)
        if not is_at(handle, folder / LOCK):
            raise LockedError(folder)
    except BaseException:
        os.close(handle)
        raise
    return handle


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still at its place."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False


def remove_locked(folder: Path, handle: int) -> None:
    """Remove a folder that this process has locked, and let go of it."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name == LOCK:  # last: another process may lock the folder as soon as it is gone
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        (folder / LOCK).unlink(missing_ok=True)
    os.close(handle)
    with suppress(OSError):  # NFS keeps a file that is open, under another name, and with it the folder
        folder.rmdir()
