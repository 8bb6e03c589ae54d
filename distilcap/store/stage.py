"""Stages and their store: the same recipe is built once, and a killed build goes on where it stopped.

A stage is a frozen dataclass. Its key is the hash of everything that decides what it makes: its fields, the
keys of the stages among them, and its version. Its folder in the store is complete or absent, because it is
built under a scratch name and renamed last (as in allenai/tango). It is sealed before that (see
`distilcap.integrity`), and checked by whoever reads it.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import re
import shutil
import time
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from distilcap.errors import ConfigError, DataError
from distilcap.files import expected
from distilcap.integrity import left_out, read_sealed_json, write_sealed_json
from distilcap.progress import SILENT, Progress
from distilcap.store.planning import Plannable
from distilcap.store.record import (
    RECORD,
    check_artifact,
    complete,
    from_json,
    has_checksums,
    read_record,
    to_json,
)
from distilcap.training.processes import ALONE, Processes

__all__ = ["Planned", "Stage", "Store", "UnknownStageError", "added_later", "not_in_key", "stage_of"]

_kinds: dict[str, type[Stage]] = {}
"""All stages whose modules have been imported, by name."""


def not_in_key() -> Any:
    """A field that says where something lies, not what it is: it is left out of the key."""
    return dataclasses.field(compare=False, metadata={"in_key": False})


def added_later(default: Any) -> Any:
    """A field that older artifacts did not have: at its default it is left out of the key, so that they stay
    valid. Also for the option classes that stages hold."""
    return dataclasses.field(default=default, metadata={"omitted": default})


def _in_key(field: dataclasses.Field[Any], value: Any) -> bool:
    if "omitted" in field.metadata and value == field.metadata["omitted"]:
        return False
    return bool(field.metadata.get("in_key", True))


@dataclass(frozen=True)
class Stage(Plannable, abc.ABC):
    """One step of an experiment, named by its recipe. Fields that are stages are its inputs."""

    version: ClassVar[int] = 1
    """Raise it when the same fields make something else."""
    together: ClassVar[bool] = False
    """Whether all processes of a launch build it; else the first does, and the others wait."""
    on_gpu: ClassVar[bool] = False
    """Whether it computes on a GPU where there is any."""
    alone: ClassVar[bool] = False
    """Whether it measures the machine, so that nothing may run beside it."""
    removed: ClassVar[Mapping[str, Any]] = {}
    """Fields that are gone, with the only value they may have had: they stay in the key."""
    checked_by_row: ClassVar[tuple[str, ...]] = ()
    """Its large files whose readers check them as they read, instead of whole."""
    measures: ClassVar[bool] = False
    """Whether it captions with, or measures, what it was made of: reports of that need it."""
    packable: ClassVar[bool] = True
    """Whether a pack of results holds it (`distilcap store export`)."""

    def __init_subclass__(cls) -> None:
        _kinds[cls.__name__] = cls

    @classmethod
    def field_types(cls) -> dict[str, Any]:
        """The types of its fields by name; to be overridden where a type is not imported with the module."""
        return typing.get_type_hints(cls)

    @abc.abstractmethod
    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Make the artifact in `folder`, which may hold what a killed build left."""

    def check_rows(self, folder: Path) -> None:
        """Read all of the files that are `checked_by_row`.

        Raises:
            DataError: an artifact is damaged.
        """
        assert not self.checked_by_row, type(self)

    def recipe(self) -> dict[str, Any]:
        """What decides the result, as JSON; inputs by their keys."""
        fields = {
            field.name: _canonical(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if _in_key(field, getattr(self, field.name))
        }
        return {"stage": type(self).__name__, "version": self.version, **self.removed, **fields}

    @functools.cached_property
    def key(self) -> str:
        """The stage's name in the store: its verb and 12 digits of its recipe's SHA-256."""
        digest = hashlib.sha256(json.dumps(self.recipe(), sort_keys=True).encode()).hexdigest()
        verb = re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()
        return f"{verb}-{digest[:12]}"

    def inputs(self) -> tuple[Stage, ...]:
        """The stages that must be built before."""
        stages: list[Stage] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            stages += [
                item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Stage)
            ]
        return tuple(stages)


def _canonical(value: Any) -> Any:
    if isinstance(value, Stage):
        return value.key
    if dataclasses.is_dataclass(value):
        named = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: _canonical(item) for field, item in named if _in_key(field, item)}
    if isinstance(value, (tuple, list)):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _canonical(item) for name, item in value.items()}
    assert value is None or isinstance(value, (str, int, float, bool)), type(value)
    return value


class UnknownStageError(DataError):
    """A stage's folder is not damaged, but what it is is not known here."""


def stage_of(folder: Path) -> Stage:
    """Rebuild the stage that a store's folder was made by; its module must have been imported.

    Raises:
        DataError: the folder is not a store's, or its record is damaged.
        UnknownStageError: its stage is of a plugin that is not loaded, or of another version.
    """
    path = folder / RECORD
    if not path.is_file():
        raise DataError(f"{folder}: not a folder of a store (there is no {RECORD} in it).")
    try:
        stage = from_json(read_record(folder)["made_by"], _kinds, {})
        if not isinstance(stage, Stage):
            raise TypeError("no stage")
        return stage
    except (KeyError, TypeError) as error:
        raise UnknownStageError(
            f"{path}: made by another version of distilcap, or with a plugin that is not "
            f"loaded ({error}); load it (`distilcap --plugin MODULE`), or build it again."
        ) from None


@dataclass(frozen=True)
class Planned:
    """A stage of a plan, and whether it need not be built."""

    stage: Stage
    complete: bool


class Store:
    """A folder of artifacts, one folder a stage.

    Attributes:
        processes: those that build together; all of them make the same calls, and the first writes.
        progress: reports builds that are given no other.
    """

    def __init__(self, root: Path, processes: Processes = ALONE, progress: Progress = SILENT) -> None:
        self.root, self.processes, self.progress = root, processes, progress

    def alone(self) -> Store:
        """The same store for this process by itself, where the others do not make the same calls."""
        return Store(self.root, dataclasses.replace(self.processes, rank=0, count=1), self.progress)

    def path(self, stage: Stage) -> Path:
        """Where a stage's artifact lies once it is complete; who reads it asks `open`."""
        return self.root / stage.key

    def open(self, stage: Stage, *names: str) -> Path:
        """The folder of a stage's artifact, undamaged; it is built first where it is missing.

        A complete store may have lost an artifact that nothing needed any more, or have been given results
        without weights.

        Args:
            names: of the files that are to be read; none means all.

        Raises:
            DataError: it is damaged; the message says how it is rebuilt.
        """
        if not self.processes.agree(self.has(stage, whole=not names)):
            self.progress.note(f"{stage.key} is needed, but not in the store: building it")
            self.build(stage, whole=not names)
        check_artifact(self.path(stage), names)
        return self.path(stage)

    def has(self, stage: Stage, whole: bool = False) -> bool:
        """Whether the artifact is complete.

        Args:
            whole: and has those files too that may be left out where only results are kept.

        Raises:
            DataError: it is there, but what says that it is complete is missing or damaged.
        """
        folder = self.path(stage)
        if not folder.is_dir() or not any(folder.iterdir()):
            return False
        return not (has_checksums(folder) and whole and left_out(folder))

    def begun(self, stage: Stage) -> bool:
        """Whether the artifact is there, or a part of it that a build goes on from."""
        return any(folder.is_dir() for folder in (self.path(stage), self.root / ".partial" / stage.key))

    def seconds(self, stage: Stage) -> float:
        """How long building took, over all runs."""
        with expected(self.path(stage) / RECORD, "the record of a stage"):
            return float(read_record(self.path(stage))["seconds"])

    def plan(self, stages: Iterable[Stage]) -> list[Planned]:
        """All stages that the given stages need, inputs first, each once."""
        ordered: dict[str, Planned] = {}

        def visit(stage: Stage) -> None:
            if stage.key not in ordered:
                for needed in stage.inputs():
                    visit(needed)
                ordered[stage.key] = Planned(stage, self.has(stage))

        for stage in stages:
            visit(stage)
        return list(ordered.values())

    def build(self, stage: Stage, progress: Progress | None = None, whole: bool = False) -> Path:
        """Build a stage and what it needs, unless complete, and return its folder.

        Two processes may ask for the same stage: the second waits and finds it complete.

        Args:
            progress: reports the build; None is the store's own.
            whole: build it too where some of its files were left out.
        """
        final, progress = self.path(stage), progress or self.progress
        if self.processes.agree(self.has(stage, whole)):
            return final
        for needed in stage.inputs():
            self.build(needed, progress)
        with self._locked(stage.key):
            if self.processes.agree(self.has(stage, whole)):
                return final
            if self.processes.first:
                self._make(stage, progress)
            elif stage.together:
                scratch = self._scratch(stage)
                stage.build(scratch, self, progress)
            self.processes.wait()
        return final

    def _scratch(self, stage: Stage) -> Path:
        scratch = self.root / ".partial" / stage.key
        scratch.mkdir(parents=True, exist_ok=True)
        return scratch

    def _make(self, stage: Stage, progress: Progress) -> None:
        scratch = self._scratch(stage)
        earlier = scratch / "seconds.json"
        before = 0.0
        if earlier.exists():
            with expected(earlier, f"the seconds of a build; delete the folder {scratch}"):
                before = float(read_sealed_json(earlier, f"delete the folder {scratch}")["seconds"])
        started = time.perf_counter()
        try:
            # The others only wait for a stage that is not built together.
            stage.build(scratch, self if stage.together else self.alone(), progress)
        except OSError as error:
            raise DataError(f"{error.filename or scratch}: {error.strerror or error}.") from error
        finally:
            seconds = round(before + time.perf_counter() - started, 3)
            with contextlib.suppress(OSError):  # a full disk has been reported already
                write_sealed_json(earlier, {"seconds": seconds})
        earlier.unlink(missing_ok=True)
        for left in scratch.rglob(".*.partial*"):  # of writers that were killed
            left.unlink()
        record = {"recipe": stage.recipe(), "seconds": seconds, "made_by": to_json(stage)}
        complete(scratch, record, stage.checked_by_row)
        final = self.path(stage)
        if final.exists():  # without the files that were left out
            shutil.rmtree(final)
        scratch.rename(final)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        if not self.processes.first:  # the others follow the first process
            yield
            return
        path = self.root / ".locks" / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        except OSError as error:
            raise ConfigError(f"The store {self.root} cannot be written: {error.strerror}.") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
