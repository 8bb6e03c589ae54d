"""What a store holds: sizes, what was made of what, what is damaged, and what can go.

The modules of the stages must have been imported, since stages are known by their folders' records.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json
from distilcap.integrity import left_out, read_sealed_json, rebuild
from distilcap.locks import LockedError, lock
from distilcap.store.record import RECORD, check_artifact, has_checksums, read_record, set_aside
from distilcap.store.scratch import SCRATCH
from distilcap.store.stage import Stage, UnknownStageError, recorded_stage, stage_of

__all__ = [
    "IMPORT",
    "Entry",
    "Unfinished",
    "contents",
    "keys_in",
    "lacking",
    "left_behind",
    "needed_by",
    "remove",
    "unfinished",
]

IMPORT = ".import"
"""Begins the name of each folder that a pack is unpacked into; the lock of those who do."""
_KEY = "[a-z-]+-[0-9a-f]{12}"


@dataclass(frozen=True)
class Entry:
    """A complete stage of a store.

    Attributes:
        folder: where it lies; its name is the stage's key.
        stage: what it is; None where the record is damaged or of another version.
        fault: why `stage` is None, in a sentence.
        unknown: whether that is because its plugin is not loaded, or another version made it.
        bytes: on disk.
        seconds: that it took to build; None where that is not known.
        results_only: some of its files were left out by intention.
        unchecked: an older version made it, without checksums.
    """

    folder: Path
    stage: Stage | None
    fault: str | None
    unknown: bool
    bytes: int
    seconds: float | None
    results_only: bool
    unchecked: bool

    @property
    def key(self) -> str:
        """The stage's name in the store."""
        return self.folder.name

    def inputs(self) -> set[str]:
        """Keys of the stages that it was made of."""
        return {stage.key for stage in self.stage.inputs()} if self.stage is not None else set()

    def damage(self) -> str | None:
        """What is wrong with it, in a sentence; every file is read."""
        if self.fault is not None and not self.unknown:
            return self.fault
        try:
            check_artifact(self.folder)
            if self.stage is None:
                return None
            if self.stage.key != self.key:
                return f"{self.folder}: holds {self.stage.key}; rename the folder back."
            if self.stage.checked_by_row and not self.results_only:
                self.stage.check_rows(self.folder)
        except DataError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class Unfinished:
    """A build that was broken off, or that a process is at.

    Attributes:
        folder: of what is done so far; the same command goes on from there.
        bytes: on disk.
        running: whether a process holds its lock.
        inputs: keys of the stages that it is made of; none where an older version began it, or it is of a
            plugin that is not loaded.
    """

    folder: Path
    bytes: int
    running: bool
    inputs: frozenset[str]


def contents(root: Path) -> list[Entry]:
    """All complete stages of a store, by key; folders that are no stages are left out.

    Raises:
        ConfigError: there is no such folder.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: there is no such store; name its folder by `--store`.")
    return [_entry(folder) for folder in sorted(root.iterdir()) if _is_stage(folder)]


def _is_stage(folder: Path) -> bool:
    """Whether a folder of a store is a stage's, also where its record is lost: it has the name of one."""
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    return bool(re.fullmatch(_KEY, folder.name)) or (folder / RECORD).is_file()


def _entry(folder: Path) -> Entry:
    size = _bytes(folder)
    try:
        stage = stage_of(folder)
        assert isinstance(stage, Stage)
        seconds = float(read_record(folder)["seconds"])
        checked = has_checksums(folder)
        partial = checked and bool(left_out(folder))
    except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
        unknown, fault = isinstance(error, UnknownStageError), str(error)
        if not (folder / RECORD).is_file():
            fault = f"{folder / RECORD}: missing; {rebuild(folder)}."
        elif not isinstance(error, DataError):
            fault = f"{folder}: its record is damaged ({error}); {rebuild(folder)}."
        return Entry(folder, None, fault, unknown, size, None, False, False)
    return Entry(folder, stage, None, False, size, seconds, partial, not checked)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def unfinished(root: Path) -> Iterator[Unfinished]:
    """Builds that are not complete."""
    for folder in sorted(path for path in (root / ".partial").glob("[!.]*") if path.is_dir()):
        running = _locked(root / ".locks" / folder.name)
        yield Unfinished(folder, _bytes(folder), running, _made_of(folder / SCRATCH))


def _made_of(path: Path) -> frozenset[str]:
    try:
        return frozenset(stage.key for stage in recorded_stage(read_sealed_json(path), path).inputs())
    except DataError:
        return frozenset()


def left_behind(root: Path) -> dict[Path, int]:
    """What deletions and imports left that were killed, with its bytes on disk; nobody needs it."""
    rests, imports = sorted((root / ".partial").glob(".removed-*")), sorted(root.glob(f"{IMPORT}-*"))
    if not _locked(root / ".locks" / IMPORT):  # asked after they were seen: none is of an import that runs
        rests += imports
    return {folder: _bytes(folder) for folder in rests}


def _locked(path: Path) -> bool:
    """Whether a process holds a lock, or that cannot be told; it is asked for so that reading is enough."""
    try:
        with path.open("rb") as file:
            lock(file.fileno(), path, shared=True)
    except FileNotFoundError:
        return False
    except (LockedError, ConfigError, PermissionError):
        return True
    return False


def keys_in(source: Path, entries: Iterable[Entry]) -> set[str]:
    """The stages that a report's results.json names, or the stage whose folder or key is given.

    Raises:
        DataError: the file names no stage of the store. ConfigError: there is no such file or stage.
    """
    known = {entry.key for entry in entries}
    if source.name in known:
        return {source.name}
    if source.suffix != ".json":
        raise ConfigError(f"{source}: neither a stage of the store nor a results.json.")
    text = json.dumps(read_json(source))
    if named := {key for key in known if f'"{key}"' in text}:
        return named
    raise DataError(f"{source}: names no stage of this store.")


def lacking(sources: Iterable[Path], kept: Iterable[Entry], entries: Iterable[Entry]) -> list[str]:
    """Keys of what is not in the store, though a results.json among `sources` names it, or what is kept was
    made of it and a pack would have it."""
    named = {
        key
        for source in sources
        if source.suffix == ".json"
        for key in re.findall(rf'"({_KEY})"', json.dumps(read_json(source)))
    }
    stages = (stage for entry in kept if entry.stage is not None for stage in entry.stage.inputs())
    named |= {stage.key for stage in stages if stage.packable}
    return sorted(named - {entry.key for entry in entries})


def needed_by(keys: Iterable[str], entries: Iterable[Entry]) -> set[str]:
    """Stages, what they were made of, and what measures them: all that a report of them needs.

    Captions, scores, latencies and bundles of a kept run are kept; other runs that learned from it are not.
    """
    by_key = {entry.key: entry for entry in entries}
    kept = set(keys)
    while True:
        more = {key for kept_key in kept & by_key.keys() for key in by_key[kept_key].inputs()}
        more |= {entry.key for entry in by_key.values() if entry.stage and _needed(entry.stage, kept)}
        if more <= kept:
            return kept & by_key.keys()
        kept |= more


def _needed(stage: Stage, kept: set[str]) -> bool:
    """Whether a stage is kept with what it was made of, which need not be there: packs have no features."""
    return stage.needed_with_inputs() and all(
        made_of.key in kept or _needed(made_of, kept) for made_of in stage.inputs()
    )


def remove(root: Path, key: str) -> None:
    """Delete a stage's folder; what needs it later builds it again.

    Raises:
        ConfigError: there is no such stage, or a process is at it.
    """
    folder = root / key
    if "/" in key or not _is_stage(folder) or folder.is_symlink():
        raise ConfigError(f"{key!r} is no stage of the store {root}; `distilcap store ls` lists them.")
    if _locked(root / ".locks" / key):
        raise ConfigError(f"{folder}: a process is at it; try again when it has ended.")
    shutil.rmtree(set_aside(folder))
