"""Unpacking zip archives so that an interrupt leaves no half file behind."""

from __future__ import annotations

import errno
import lzma
import os
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress

__all__ = ["unpack_file", "unpack_images"]

# RuntimeError: a member that is encrypted, or packed in a way that Python does not know.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, struct.error)


def unpack_file(path: Path, name: str, target: Path) -> None:
    """Write the archive's file called `name`, in whatever folder there, to `target`.

    Raises:
        DataError: the archive is damaged or has no such file.
    """
    with _open(path) as archive:
        member = next((entry for entry in archive.infolist() if entry.filename.split("/")[-1] == name), None)
        if member is None:
            raise DataError(f"{path}: there is no {name} in this archive.")
        _extract(archive, member, target)


def unpack_images(path: Path, name: str, root: Path, progress: Progress = SILENT) -> None:
    """Unpack the archive's folder of images `name` into `root`; those there with the right size stay.

    Raises:
        DataError: the archive is damaged; what was unpacked is whole and stays.
    """
    (root / name).mkdir(exist_ok=True)
    pattern = re.compile(re.escape(name) + r"/[\w.-]+\.jpg")  # nothing may point out of the folder
    with _open(path) as archive:
        members = [member for member in archive.infolist() if pattern.fullmatch(member.filename)]
        for member in progress.track(members, f"Unpacking {name}", len(members)):
            target = root / member.filename
            if not target.is_file() or target.stat().st_size != member.file_size:
                _extract(archive, member, target)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:
        if not _is_damage(error):
            raise
        raise DataError(f"{path}: not a whole zip archive ({error}); fetch it again.") from None


def _is_damage(error: Exception) -> bool:
    """Whether the archive is to blame; for a full disk or a missing permission it is not."""
    if isinstance(error, OSError):  # an offset beyond the file, a stream that cannot be unpacked
        return error.errno in (None, errno.EINVAL)
    return isinstance(error, _DAMAGED)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Whole or not at all; no flush to disk for each of 123,287 images, whose sizes are looked at again."""
    scratch = target.with_name(f"{target.name}.partial")
    try:
        with archive.open(member) as source, scratch.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        os.replace(scratch, target)
    except Exception as error:
        if not _is_damage(error):
            raise
        reason = f"{member.filename} is damaged ({error})"
        raise DataError(f"{archive.filename}: {reason}; fetch the archive again.") from None
    finally:
        scratch.unlink(missing_ok=True)
