"""Who runs stages: this process one after another, several processes of this machine, or a Ray cluster.

A stage begins when its inputs are there. Workers of one machine or of many build into the same store, whose
locks hold; a stage whose worker dies is built again, from where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.progress import Progress, Silent
from distilcap.store.cluster import ray_workers
from distilcap.store.side_by_side import process_workers
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training.processes import ALONE, launched, processes_asked_for

__all__ = ["EngineOptions", "Workers", "build_ahead", "build_side_by_side", "call_side_by_side"]

T = TypeVar("T")
SERIAL = "serial"


class Workers(Protocol):
    """Whoever makes calls at the same time, as many as there is room for."""

    def start(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], on_gpu: bool
    ) -> None:
        """Make a call of a module's function as soon as there is room; `name` is for people."""

    def ended(self) -> tuple[str, Any]:
        """Wait for the next call to end: its name, and what it gave; raise what it raised."""


WORKERS: dict[str, Callable[[int, float | None], AbstractContextManager[Workers]]] = {
    "processes": process_workers,
    "ray": ray_workers,
}


@dataclass(frozen=True)
class EngineOptions(Options):
    """Who runs the stages, and what each gets of a machine."""

    engine: str = option(
        SERIAL,
        "How stages run: serial, one after another; processes, as many at once as this machine has cores "
        "for; ray, many at once, on a cluster.",
        choices=(SERIAL, *WORKERS),
    )
    cpus_per_stage: int = option(1, "With processes or ray: number of threads of a stage.", least=1, most=256)
    gpus_per_stage: float | None = option(
        None,
        "With processes or ray: number of GPUs of a stage, such as 0.25; 0 is the CPU.  [default: 1 where "
        "there are GPUs]",
        least=0,
        most=1024,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side_by_side and processes_asked_for()[1] > 1:
            raise ConfigError(
                f"`engine` {self.engine} starts processes itself: run the command without a launcher."
            )

    @property
    def side_by_side(self) -> bool:
        """Whether workers make several calls at once."""
        return self.engine != SERIAL

    def workers(self) -> AbstractContextManager[Workers]:
        """Those of an engine that is not serial."""
        return WORKERS[self.engine](self.cpus_per_stage, self.gpus_per_stage)


def build_ahead(stages: Iterable[Stage], store: Store, progress: Progress, engine: EngineOptions) -> None:
    """Build stages where an engine builds them; in a serial run each is built when it is asked for."""
    if engine.side_by_side:
        build_side_by_side(stages, store, progress, engine)


def build_side_by_side(
    stages: Iterable[Stage], store: Store, progress: Progress, engine: EngineOptions
) -> None:
    """Build stages and what they need, as many at a time as there is room for.

    A stage's remarks are noted when it is done. Stages that measure the machine are left out: they must run
    alone. A Ray cluster is that of RAY_ADDRESS, or the cluster running on this machine, or else this machine.

    Raises:
        MissingError: Ray is not installed.
        ConfigError: there is no cluster and none can be started, no machine has what a stage needs, or a
            stage's workers died again and again.
        DistilCapError: of a stage, as it raised it; the others are given up.
    """
    todo = {stage.key: stage for stage in store.missing(stages) if not stage.alone}
    if not todo:
        return
    with engine.workers() as workers:
        for stage, notes in progress.track(_built(workers, todo, store), "Stages", len(todo)):
            for note in notes:
                progress.note(f"{stage.key}: {note}")
            progress.note(f"{stage.key}: {store.seconds(stage):.0f} s")


def _built(workers: Workers, todo: dict[str, Stage], store: Store) -> Iterator[tuple[Stage, tuple[str, ...]]]:
    """Yield stages and their remarks as they are done, having begun all whose inputs are."""
    waiting = {key: {needed.key for needed in stage.inputs()} & todo.keys() for key, stage in todo.items()}
    for _ in todo:
        for key in [key for key, inputs in waiting.items() if not inputs]:
            del waiting[key]
            workers.start(key, _build, (todo[key], store.root.resolve()), todo[key].on_gpu)
        done, notes = workers.ended()
        for inputs in waiting.values():
            inputs.discard(done)
        yield todo[done], notes


def _build(stage: Stage, root: Path) -> tuple[str, ...]:
    """Build one stage, whose inputs are there, on a worker; its remarks."""
    kept = _Kept()
    Store(root, launched() if stage.on_gpu else ALONE, kept).build(stage, whole=True)
    return tuple(kept.notes)


class _Kept(Silent):
    """Keeps remarks, for whoever asked for the build."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        """Keep the remark."""
        self.notes.append(message)


def call_side_by_side(
    function: Callable[..., T],
    calls: Mapping[str, tuple[Any, ...]],
    engine: EngineOptions,
    progress: Progress,
    description: str,
) -> dict[str, T]:
    """Call a module's function with each of the arguments, as many calls at a time as there is room for.

    Workers have this process's folder as theirs. A call whose worker dies is made again.

    Args:
        calls: arguments by a name for people.

    Returns:
        what each call gave.

    Raises:
        as `build_side_by_side`.
    """
    with engine.workers() as workers:
        for name, arguments in calls.items():
            workers.start(name, function, arguments, on_gpu=True)
        ends = (workers.ended() for _ in calls)
        return dict(progress.track(ends, description, len(calls)))
