"""The store: a folder of artifacts, where the same recipe is built once, and a killed build goes on.

A stage's folder is complete or absent, because it is built under a scratch name and renamed last (as in
allenai/tango). It is sealed before that (see `distilcap.integrity`), and checked by whoever reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import expected
from distilcap.integrity import left_out
from distilcap.locks import lock
from distilcap.progress import SILENT, Progress
from distilcap.store.record import (
    RECORD,
    check_artifact,
    complete,
    has_checksums,
    read_record,
    set_aside,
    to_json,
)
from distilcap.store.scratch import SCRATCH, timed
from distilcap.store.stage import Stage
from distilcap.training.processes import ALONE, Processes

__all__ = ["Planned", "Store"]

_S = TypeVar("_S", bound=Stage)


@dataclass(frozen=True)
class Planned:
    """A stage of a plan.

    Attributes:
        to_do: whether it must be built. A missing stage need not where all that is made of it is there. One
            that is there must where its weights were left out and are read.
    """

    stage: Stage
    to_do: bool


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

    def finds(self, stage: Stage, folder: Path) -> bool:
        """Whether the folder is the stage's place here; elsewhere it would be missing, and be made again."""
        return self.path(stage).resolve() == folder.resolve()

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
            DataError: it is damaged; the message says how it is rebuilt. Or it was given without weights, and
                what these are made of is not here.
        """
        if not self.processes.agree(self.has(stage, whole=not names)):
            self.progress.note(f"{stage.key} is needed, but not in the store: building it")
            results_only = self.has(stage)
            try:
                self.build(stage, whole=not names)
            except (ConfigError, DataError, MissingError) as error:
                if not results_only:
                    raise
                raise DataError(
                    f"{self.path(stage)}: holds results only (imported without weights), and cannot be made "
                    f"again here: {error} Copy this folder whole from the store where it was made."
                ) from error
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

    def furthest(self, stages: Sequence[_S], elsewhere: Sequence[_S]) -> _S:
        """Which of stages that do for one another to go on with: a complete one, else one that is begun, else
        the first.

        Args:
            elsewhere: others that do, but cannot be gone on with here where they are only begun.
        """
        complete = (stage for stage in (*stages, *elsewhere) if self.has(stage, whole=True))
        begun = (stage for stage in stages if self.begun(stage))
        return next(complete, None) or next(begun, stages[0])

    def seconds(self, stage: Stage) -> float:
        """How long building took, over all runs."""
        with expected(self.path(stage) / RECORD, "the record of a stage"):
            return float(read_record(self.path(stage))["seconds"])

    def plan(self, stages: Iterable[Stage]) -> list[Planned]:
        """All stages that the given stages need, inputs first, each once."""
        stages = list(stages)
        missing = {stage.key for stage in self.missing(stages)}
        ordered: dict[str, Planned] = {}

        def visit(stage: Stage) -> None:
            if stage.key not in ordered:
                for needed in stage.inputs():
                    visit(needed)
                ordered[stage.key] = Planned(stage, stage.key in missing)

        for stage in stages:
            visit(stage)
        return list(ordered.values())

    def missing(self, stages: Iterable[Stage], weights: bool = True) -> list[Stage]:
        """What `build` would make of the given stages, inputs first, each once.

        Nobody asks for what a complete stage was made of.

        Args:
            weights: list inputs too that are there without the weights that a missing stage reads.
        """
        visited: set[tuple[str, bool]] = set()
        missing: dict[str, Stage] = {}

        def visit(stage: Stage, whole: bool) -> None:
            if (stage.key, whole) in visited:
                return
            visited.add((stage.key, whole))
            if stage.key in missing or self.has(stage, whole):
                return
            in_part = [getattr(stage, name) for name in stage.results_of]
            for needed in stage.inputs():
                visit(needed, weights and not any(needed is one for one in in_part))
            missing[stage.key] = stage

        for stage in stages:
            visit(stage, False)
        return list(missing.values())

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
        made_by = to_json(stage)
        with timed(scratch, made_by) as seconds:
            try:
                # The others only wait for a stage that is not built together.
                stage.build(scratch, self if stage.together else self.alone(), progress)
            except OSError as error:
                raise DataError(f"{error.filename or scratch}: {error.strerror or error}.") from error
        (scratch / SCRATCH).unlink(missing_ok=True)
        for left in scratch.rglob(".*.partial*"):  # of writers that were killed
            left.unlink()
        record = {"recipe": stage.recipe(), "seconds": seconds(), "made_by": made_by}
        complete(scratch, record, stage.checked_by_row)
        final = self.path(stage)
        former = set_aside(final) if final.exists() else None  # without the files that were left out
        scratch.rename(final)
        if former is not None:
            shutil.rmtree(former, ignore_errors=True)

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
            lock(file.fileno(), path, wait=True)
            yield
