"""Artifacts that know when they are damaged: checksums of folders, and JSON that holds its own.

A complete folder has a manifest of its files, `checksums.json`, written last:

    {"sealed": 1, "files": {"captions.jsonl": {"bytes": 972, "sha256": "…"}}, "left_out": [], "sha256": "…"}

A file that its reader checks piece by piece (large, memory-mapped features) has "sha256": null and "checked":
"by row"; here only its size is compared. Names in "left_out" may be missing by intention: the folder was
copied without them (results without weights). They keep their entries, and are checked where they are there.
Files that are not listed, and hidden ones (scratch files of killed writers), are ignored.

The manifest and other single files (`stage.json`, `captioner.json`) are sealed JSON: an object with the
SHA-256 of the rest of it, as canonical JSON, under "sha256", and the mark "sealed", so that an object that
lost either is damaged and not one of an older version, which has neither.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from distilcap.errors import DataError
from distilcap.files import bare_name, read_json, sha256_of, write_json

__all__ = [
    "CHANGED",
    "CHECKSUMS",
    "canonical_json",
    "check_file",
    "check_folder",
    "damages",
    "differs",
    "leave_out",
    "left_out",
    "read_sealed_json",
    "rebuild",
    "seal",
    "write_sealed_json",
]

CHECKSUMS = "checksums.json"
CHANGED = "damaged (its checksum differs from when it was made)"
_MARK, _SHA256 = "sealed", "sha256"
_SETTLED_NS = 100_000_000  # a file that changed more recently may change again within one tick of its clock

_digests: dict[tuple[int, ...], str] = {}
"""Of files that this process has hashed, by device, inode, size and times: no large file is hashed twice."""


def rebuild(folder: Path) -> str:
    """The fix of a damaged artifact, for messages."""
    return f"delete the folder {folder} and run the command that made it again: it is rebuilt"


def canonical_json(content: Any) -> str:
    """JSON that is equal for equal content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum of itself, whole or not at all."""
    sealed = {_MARK: 1, **content}
    write_json(path, {**sealed, _SHA256: _digest_of(sealed)})


def read_sealed_json(path: Path, fix: str = "", regular: bool = True) -> dict[str, Any]:
    """Read what `write_sealed_json` wrote, or an unsealed object of an older version.

    Args:
        fix: what to do about a damaged file, for the message; empty where the caller says it.
        regular: see `read_json`.

    Raises:
        DataError: missing, not a JSON object, or damaged.
    """
    ending = f"; {fix}." if fix else "."
    try:
        content = read_json(path, regular)
    except DataError as error:
        raise DataError(str(error).removesuffix(".") + ending) from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: damaged (not a JSON object){ending}")
    sealed, digest = _MARK in content, content.pop(_SHA256, None)
    try:
        damaged = (sealed or digest is not None) and digest != _digest_of(content)
    except RecursionError:  # JSON as deep as could just be read
        damaged = True
    if damaged:
        raise DataError(f"{path}: {CHANGED}{ending}")
    content.pop(_MARK, None)
    return content


def seal(folder: Path, by_row: Iterable[str] = ()) -> None:
    """Write the manifest of a folder that is complete.

    Args:
        by_row: files whose readers check them as they read.
    """
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == CHECKSUMS or any(part.startswith(".") for part in Path(name).parts):
            continue
        size = path.stat().st_size
        if name in by_row:
            files[name] = {"bytes": size, "sha256": None, "checked": "by row"}
        else:
            files[name] = {"bytes": size, "sha256": sha256_of(path)}
    write_sealed_json(folder / CHECKSUMS, {"files": files, "left_out": []})


def leave_out(folder: Path, names: Iterable[str], copied: Path | None = None) -> None:
    """Note in the manifest that files of the folder may be missing.

    Args:
        copied: a sealed folder that this one is a copy of; what was left out there is left out here, too.
    """
    files, left = _manifest(folder)
    if copied is not None:
        theirs, gone = _manifest(copied)[0], left_out(copied)
        left = [*left, *gone]
        files = dict(sorted({**files, **{name: theirs[name] for name in gone if name in theirs}}.items()))
    write_sealed_json(
        folder / CHECKSUMS, {"files": files, "left_out": sorted({*left, *names} & files.keys())}
    )


def left_out(folder: Path) -> list[str]:
    """Files of a sealed folder that are missing by intention."""
    return [name for name in _manifest(folder)[1] if not (folder / name).exists()]


def differs(folder: Path, other: Path, apart: Collection[str]) -> bool:
    """Whether two sealed folders have another content in a file of one name, but for the files `apart`.

    Raises:
        DataError: a manifest is missing or damaged.
    """
    ours, theirs = _manifest(folder)[0], _manifest(other)[0]
    return any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys() - set(apart))


def damages(folder: Path, names: Iterable[str] = ()) -> dict[str, str]:
    """What is wrong with each damaged file of a sealed folder, in words.

    Args:
        names: of files that are to be checked; none means all.

    Raises:
        DataError: the manifest itself is missing or damaged.
    """
    files, left = _manifest(folder)
    return {
        name: fault
        for name in tuple(names) or files
        if (fault := _fault(folder / name, files.get(name), name in left)) is not None
    }


def check_folder(folder: Path, names: Iterable[str] = ()) -> None:
    """Make sure that a sealed folder is as it was when it was sealed.

    Args:
        names: of files that are to be checked; none means all.

    Raises:
        DataError: a file, or the manifest itself, is missing or damaged; the message says how it is rebuilt.
    """
    for name, fault in damages(folder, names).items():
        raise DataError(f"{folder / name}: {fault}; {rebuild(folder)}.")


def check_file(path: Path) -> None:
    """Make sure that a file that is read by its path is undamaged, if its folder is sealed.

    Raises:
        DataError: as `check_folder`.
    """
    if (path.parent / CHECKSUMS).exists() and path.name in _manifest(path.parent)[0]:
        check_folder(path.parent, [path.name])


def _manifest(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The entries of a folder's manifest, and which files may be missing."""
    path = folder / CHECKSUMS
    content = read_sealed_json(path, rebuild(folder))
    try:
        files, left = content["files"], content["left_out"]
        for name, entry in files.items():
            for part in name.split("/"):
                bare_name(part, path)
            int(entry["bytes"]), entry["sha256"]
        return dict(files), list(left)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a manifest ({error}); {rebuild(folder)}.") from None


def _fault(path: Path, entry: Mapping[str, Any] | None, may_be_missing: bool) -> str | None:
    if entry is None:
        return f"not listed in {CHECKSUMS}"
    try:
        if not path.exists():
            return None if may_be_missing else "missing"
        if not path.is_file():
            return "damaged (not a regular file)"
        if (size := path.stat().st_size) != entry["bytes"]:
            return f"damaged ({size:,} bytes instead of {entry['bytes']:,})"
        if entry["sha256"] is None or entry["sha256"] == _digest_of_file(path):
            return None
        return CHANGED
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _digest_of_file(path: Path) -> str:
    stat = path.stat()
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    digest = _digests.get(identity)
    if digest is None:
        digest = sha256_of(path)
        if time.time_ns() - stat.st_ctime_ns > _SETTLED_NS:
            _digests[identity] = digest
    return digest
