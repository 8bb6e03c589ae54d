"""Folders that are either whole or not there, and scratch folders that no kill leaves behind for long."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from distilcap.errors import BundleError, ConfigError
from distilcap.files import copy_all
from distilcap.locks import LockedError, lock_folder, remove_locked
from distilcap.runtime.manifest import CHECKSUM, MANIFEST, manifest_content

__all__ = ["check_bundle_folder", "scratch_folder", "whole_bundle", "whole_folder"]

_MARK = ".distilcap-scratch-"
"""What names of scratch folders hold, after a dot and the name of the folder that they become."""

_OF_NOBODY = (".DS_Store",)  # systems write it wherever a folder is looked at


def check_replaceable(to: Path, mark: str, ours: Collection[str] | None = None) -> None:
    """Make sure that nothing of a person's is lost when `to` is written anew.

    Args:
        to: a folder that may exist.
        mark: a file that an older folder of the same kind holds.
        ours: see `whole_folder`.

    Raises:
        ConfigError: `to` exists, is not empty and holds neither `mark` nor, where that is given, any of
            `ours`; or it holds something hidden, such as `.git`, that is not taken over; or it is mounted, or
            the command runs in it, so that no other folder can take its place.
    """
    if not to.exists() and not to.is_symlink():
        return
    if not to.is_dir() or (any(to.iterdir()) and not (ours or (ours is None and (to / mark).is_file()))):
        if ours is not None and (to / mark).is_file():
            raise ConfigError(
                f"{to / mark} is damaged or somebody else's: delete {to}, or name another folder."
            )
        raise ConfigError(
            f"`to` must be a new folder or a folder written before, but {to} holds something else."
        )
    for path in to.iterdir() if ours is None else ():
        if path.name.startswith(".") and path.name not in _OF_NOBODY:
            raise ConfigError(f"{to} is written anew, but holds {path.name}; move that elsewhere first.")
    if os.path.ismount(to):
        raise ConfigError(f"{to} is a mounted folder, which cannot be replaced; name a folder inside it.")
    if _here().is_relative_to(os.path.realpath(to)):
        raise ConfigError(
            f"{to} is replaced, but is the folder you are in or above it; go out of it (`cd`) and name it "
            "from there."
        )


def check_bundle_folder(to: Path) -> None:
    """Make sure that a bundle can be written to `to`: as `check_replaceable`, for `whole_bundle`."""
    check_replaceable(to, MANIFEST, _bundle_names(to))


def whole_bundle(to: Path) -> AbstractContextManager[Path]:
    """`whole_folder` of a bundle; what a person put beside an older one's files stays."""
    return whole_folder(to, MANIFEST, _bundle_names(to))


def _bundle_names(folder: Path) -> set[str]:
    """The files of the bundle in a folder, as its manifest lists them; none where there is no bundle."""
    try:
        content = manifest_content((folder / MANIFEST).read_bytes(), folder / MANIFEST)
        return {*content["files"], MANIFEST, CHECKSUM}
    except (OSError, BundleError, LookupError, TypeError):
        return set()


def _here() -> Path:
    """The folder in which the command runs; where that was deleted, none that can be replaced."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


@contextmanager
def scratch_folder(parent: Path | None = None, name: str = "") -> Iterator[Path]:
    """Give a new folder in `parent`, removed afterwards; those that dead processes left there go first.

    A process holds a lock on its folder, which ends with it, however it ends.

    Args:
        parent: None takes the system's folder of temporary files.
        name: of the folder that it will become, if any.
    """
    parent = parent or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(parent)
    scratch, lock = _locked_folder(parent, f".{name}{_MARK}")
    try:
        yield scratch
    finally:
        if lock is None:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            remove_locked(scratch, lock)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder, and the lock on it; None where the file system has no locks."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            return scratch, lock_folder(scratch)
        except (LockedError, FileNotFoundError):
            continue  # another process took it for a leftover before it was locked
        except (ConfigError, OSError):
            return scratch, None


def _remove_leftovers(parent: Path) -> None:
    """Remove what dead processes left, and put back the folder that a killed process had set aside."""
    for scratch in parent.glob(f".*{_MARK}*"):
        try:
            if scratch.is_symlink() or scratch.stat().st_uid != os.getuid():
                continue
            lock = lock_folder(scratch)
        except (LockedError, ConfigError, OSError):
            continue
        to = parent / scratch.name.removeprefix(".").partition(_MARK)[0]
        if (scratch / "older").is_dir() and not to.exists():
            with suppress(OSError):
                os.replace(scratch / "older", to)
        remove_locked(scratch, lock)


@contextmanager
def whole_folder(to: Path, mark: str, ours: Collection[str] | None = None) -> Iterator[Path]:
    """Give a scratch folder beside `to`; on a clean exit it becomes `to`, and an older folder is deleted.

    What is put beside the scratch folder, in its parent, is removed afterwards. Where `to` is a link, the
    folder that it leads to is replaced.

    Args:
        ours: names in `to`, the folder's own; what else lies there is taken over, but for names that the new
            one has. Without any, `to` is of another kind; None means that all are where `mark` is.

    Raises:
        ConfigError: as `check_replaceable`.
    """
    to = Path(os.path.realpath(to))
    check_replaceable(to, mark, ours)
    with scratch_folder(to.parent, to.name) as scratch:
        new, older = scratch / "new", scratch / "older"
        new.mkdir()
        yield new
        if ours is not None and to.exists():
            known = {*ours, *os.listdir(new)}
            for path in to.iterdir():  # copied, so that it is there whenever a kill comes
                if path.name not in known:
                    copy_all(path, new / path.name, links=True)
        try:
            if to.exists():
                os.replace(to, older)
            os.replace(new, to)
        except BaseException:  # Ctrl-C between the two
            if older.exists() and not to.exists():
                os.replace(older, to)
            raise
