"""Which side files of a folder `distilcap caption --side-files` wrote: nobody learns from them unasked.

A line names a file and the SHA-256 of what was written: a text that a person has edited since is a person's.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from distilcap.errors import DataError
from distilcap.files import failures_named, parse_json, sha256_of

__all__ = ["SIDE_RECORD", "note_side", "written_sides"]

SIDE_RECORD = ".distilcap-side-files.jsonl"
"""Beside the side files."""


def note_side(side: Path, content: bytes) -> None:
    """Note what is about to be written; a kill in between leaves a line that fits no file.

    Raises:
        DataError: the record is a link, which may lead anywhere.
        OSError: it cannot be written.
    """
    record = side.with_name(SIDE_RECORD)
    if record.is_symlink():
        raise DataError(f"{record} is a link to somewhere else; delete it.")
    line = json.dumps({"file": side.name, "sha256": hashlib.sha256(content).hexdigest()})
    opened = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    with failures_named(record), open(opened, "ab") as file:
        file.write(f"\n{line}\n".encode())  # the first line end closes a line that a kill tore
        file.flush()
        os.fsync(opened)


def written_sides(folder: Path) -> set[Path]:
    """The side files of a folder that are as `note_side` noted them."""
    record = folder / SIDE_RECORD
    try:
        if not stat.S_ISREG(record.lstat().st_mode):
            return set()
        lines = record.read_bytes().split(b"\n")
    except OSError:
        return set()
    noted: set[tuple[str, str]] = set()
    for line in lines:
        try:
            entry = parse_json(line, record)
            noted.add((entry["file"], entry["sha256"]))
        except (DataError, LookupError, TypeError):  # torn
            continue
    names = {name for name, _ in noted if isinstance(name, str)}
    files = (folder / name for name in names if os.path.basename(name) == name)
    return {file for file in files if file.is_file() and (file.name, sha256_of(file)) in noted}
