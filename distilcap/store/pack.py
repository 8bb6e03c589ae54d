"""Results of a store in one file, to finish a table elsewhere: captions, scores and recipes without weights.

A pack is a `.tar.gz` of stage folders. Weights and features are left out (their names stay in
`checksums.json`), and so is where data and weights lay on the machine: only the last part of such a path
is kept. Imported stages count as complete; whatever needs their weights builds them again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from distilcap.archives import Member
from distilcap.errors import DataError
from distilcap.files import atomic_path, bare_name, copy_all, failures_named
from distilcap.integrity import CHECKSUMS, differs, leave_out
from distilcap.locks import lock
from distilcap.store.contents import IMPORT, Entry
from distilcap.store.record import RECORD, check_artifact, complete, read_record, to_json
from distilcap.store.stage import Stage, UnknownStageError, stage_of

__all__ = ["Imported", "export_results", "import_results", "packed_keys"]

WEIGHTS = (".safetensors", ".onnx", ".pte")
"""Endings of files that are left out of a pack."""
_MOST_BYTES = 4 << 30  # of one unpacked file
_MOST_BYTES_IN_ALL = 16 << 30
_MOST_NAMES = 200_000  # of files, and of the folders that each is in
_PADDING = 1 << 16  # more than there may be behind the last file


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        new: stages that were added. known: stages that the store had already; they were left as they were.
        different: of the known, those whose content is another in the pack, as where the same recipe ran on
            another machine.
    """

    new: tuple[str, ...]
    known: tuple[str, ...]
    different: tuple[str, ...] = ()


def export_results(entries: Iterable[Entry], to: Path) -> list[str]:
    """Write stages without their weights into one file; returns their keys.

    Stages that only say where data lie, and bundles, are left out: they are quickly made again. So are those
    of a plugin that is not loaded or of another version.

    Raises:
        DataError: a stage is damaged, or there is none.
    """
    packed = []
    with (
        atomic_path(to) as scratch,
        scratch.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed,  # no name, no time
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in entries:
            if entry.fault is not None and not entry.unknown:
                raise DataError(entry.fault)
            if entry.stage is None or not entry.stage.packable:
                continue
            check_artifact(entry.folder)
            # Beside the pack: where its disk is full, that is what the error names.
            with tempfile.TemporaryDirectory(dir=scratch.parent, prefix=".") as folder:
                copy = Path(folder) / entry.key
                _copy_results(entry, copy)
                for path in sorted(path for path in copy.rglob("*") if path.is_file()):
                    _add(archive, path, f"{entry.key}/{path.relative_to(copy).as_posix()}")
            packed.append(entry.key)
        if not packed:
            raise DataError(f"{to}: not written, since there are no results to pack.")
    return packed


def _copy_results(entry: Entry, copy: Path) -> None:
    assert entry.stage is not None
    left = [path for path in entry.folder.rglob("*") if path.suffix in WEIGHTS]
    copy_all(entry.folder, copy, but=(CHECKSUMS, ".*", *(f"*{ending}" for ending in WEIGHTS)))
    for path in left:
        (copy / path.relative_to(entry.folder)).symlink_to(path.absolute())
    record = read_record(entry.folder)
    record = {name: content for name, content in record.items() if name != "format"}
    record["made_by"] = to_json(_without_folders(entry.stage))
    # Sealed with all files, so that weights that come back are checked; then the links to the weights go.
    complete(copy, record, entry.stage.checked_by_row)
    copied = entry.folder if entry.results_only else None
    leave_out(copy, [path.relative_to(entry.folder).as_posix() for path in left], copied)
    for path in left:
        (copy / path.relative_to(entry.folder)).unlink()


def _without_folders(value: Any) -> Any:
    """A stage with the last part only of every path that is not in its key."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for field in dataclasses.fields(value):
            content = getattr(value, field.name)
            if isinstance(content, str) and not field.metadata.get("in_key", True):
                content = PurePath(content).name
            changed[field.name] = _without_folders(content)
        return dataclasses.replace(value, **changed)
    return tuple(_without_folders(item) for item in value) if isinstance(value, tuple) else value


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time either: equal results make equal packs
    content = path.read_bytes()
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def packed_keys(source: Path) -> set[str]:
    """The stages in a pack.

    Raises:
        DataError: it is no pack, or damaged.
    """
    with _damage_named(source), tarfile.open(source, "r:gz", tarinfo=Member) as archive:
        return {parts[0] for _, parts in _members(archive, source)}


@contextlib.contextmanager
def _damage_named(source: Path) -> Iterator[None]:
    """Errors of reading a pack as one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{source}: there is no such file.") from None
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, RecursionError) as error:
        raise DataError(f"{source}: not a pack of results, or damaged ({error}).") from None


def import_results(source: Path, root: Path) -> Imported:
    """Add the stages of a pack to a store, each whole or not at all.

    Raises:
        DataError: it is no pack, or damaged; the message names what.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _only_import(root), tempfile.TemporaryDirectory(dir=root, prefix=f"{IMPORT}-") as folder:
        with (
            _damage_named(source),
            gzip.open(source) as stream,
            tarfile.open(fileobj=stream, mode="r:", tarinfo=Member) as archive,
        ):
            for member, parts in _members(archive, source):
                content = archive.extractfile(member)
                assert content is not None
                path = Path(folder, *parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with failures_named(path), path.open("wb") as file:
                    shutil.copyfileobj(content, file)
            # To the end, where gzip's checksum is; tarfile takes a damaged header for the archive's end.
            rest = stream.read(_PADDING)
            if len(rest) == _PADDING or rest.strip(b"\0"):
                raise DataError(f"{source}: damaged (it goes on behind its end).")
        new, known, different = [], [], []
        for stage_folder in sorted(Path(folder).iterdir()):
            stage = _checked(stage_folder, source)
            if (there := root / stage_folder.name).exists():
                known.append(stage_folder.name)
                with contextlib.suppress(DataError):  # of an older version, or damaged
                    timed = (RECORD, *stage.timed)
                    different += [there.name] if differs(stage_folder, there, timed) else []
            else:
                stage_folder.rename(root / stage_folder.name)
                new.append(stage_folder.name)
    if not new and not known:
        raise DataError(f"{source}: holds no stage.")
    return Imported(tuple(new), tuple(known), tuple(different))


@contextlib.contextmanager
def _only_import(root: Path) -> Iterator[None]:
    """One import of a store at a time; what others left that were killed is deleted."""
    path = root / ".locks" / IMPORT
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        lock(file.fileno(), path, wait=True)
        for left in root.glob(f"{IMPORT}-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _members(archive: tarfile.TarFile, source: Path) -> Iterator[tuple[tarfile.TarInfo, list[str]]]:
    left, names_left = _MOST_BYTES_IN_ALL, _MOST_NAMES
    for member in archive:
        parts = member.name.split("/")
        for part in parts:
            bare_name(part, source)
        # A sparse file of any size takes no place in a pack: no stage has one.
        if not member.isfile() or member.issparse() or len(parts) < 2 or member.size > _MOST_BYTES:
            raise DataError(f"{source}: {member.name!r} is no file of a stage.")
        if (left := left - member.size) < 0:
            raise DataError(
                f"{source}: holds more than {_MOST_BYTES_IN_ALL >> 30} GiB; `export --keep` makes parts."
            )
        if (names_left := names_left - len(parts)) < 0:
            raise DataError(
                f"{source}: holds more than {_MOST_NAMES:,} files and folders; `export --keep` makes parts."
            )
        yield member, parts


def _checked(folder: Path, source: Path) -> Stage:
    """The stage of a folder, which is whole and of the stage that its name says."""
    try:
        stage = stage_of(folder)
        assert isinstance(stage, Stage)
        key = stage.key
        check_artifact(folder)
        if not (folder / CHECKSUMS).is_file() or not (folder / RECORD).is_file():
            raise DataError("no checksums")
    except UnknownStageError as error:
        raise DataError(f"{source}: {folder.name}: {error}") from None
    except DataError as error:
        raise DataError(f"{source}: {folder.name} is damaged ({error}).") from None
    if key != folder.name:
        raise DataError(f"{source}: {folder.name} holds {key}.")
    return stage
