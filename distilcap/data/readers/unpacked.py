"""Images that lie inside other files (Parquet, `.tar`) as files of their own, in the user's cache.

They are unpacked once: a folder is named by the file's path, size and time, so a file that changed gets
another. Delete the folder at any time; it is made again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from distilcap.files import cache_folder, failures_named

__all__ = ["Unpacked"]

_VERSION = 2
"""Of what names of files mean: in the first, images whose names become the same lay in one file."""
_LONGEST = 225  # bytes of a name: file systems take 255, some of which go to a digest and to a scratch name


class Unpacked:
    """Where the images of one file are unpacked to."""

    def __init__(self, source: Path) -> None:
        state = source.stat()
        named = f"{source.resolve()}\n{state.st_size}\n{state.st_mtime_ns}\n{_VERSION}"
        digest = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.folder = cache_folder() / "unpacked" / digest
        self._names: dict[str, str] = {}  # by the file's name, as disks see it that do not know case

    def put(self, name: str, size: int, read: Callable[[], bytes]) -> Path:
        """The file of an image of `size` bytes; `name` may hold anything, and becomes a bare file name.

        Another name that becomes the same has a digest put before it: file names, and with them the
        fingerprints of data sets, stay what they are where there is none.
        """
        bare = re.sub(r"[^\w.+-]", "_", name).lstrip(".")[-120:].encode()[-_LONGEST:].decode(errors="ignore")
        bare = bare or "image"
        if self._names.setdefault(bare.casefold(), name) != name:
            bare = f"{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}-{bare}"
        path = self.folder / bare
        if path.is_file() and path.stat().st_size == size:
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{os.getpid()}.{path.name}")
        with failures_named(path):  # no `fsync`, as `atomic_path` has it: this is a cache of many files
            try:
                scratch.write_bytes(read())
                os.replace(scratch, path)
            finally:
                scratch.unlink(missing_ok=True)  # of a full disk, say
        return path
