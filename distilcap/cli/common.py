"""Options and helpers that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distilcap.cli.bounds import THREADS, Real
from distilcap.cli.progress import PlainConsole, TerminalProgress
from distilcap.errors import ConfigError
from distilcap.training.processes import processes_asked_for

if TYPE_CHECKING:
    from distilcap.store.cluster import Share
    from distilcap.store.stage import Stage, Store

__all__ = [
    "CONSOLE",
    "FIRST",
    "PROGRESS",
    "engine_of",
    "engine_options",
    "judge_data",
    "open_store",
    "precision_here",
    "store_option",
]

FIRST = processes_asked_for()[0] == 0
"""Whether this is the first process of its launch: it alone prints, and writes results."""
# A file or a pipe has no width of its own: tables keep their columns there.
CONSOLE = PlainConsole(width=None if sys.stdout.isatty() else 140, quiet=not FIRST)
PROGRESS = TerminalProgress(PlainConsole(stderr=True, quiet=not FIRST))


Function = TypeVar("Function", bound=Callable[..., Any])


def open_store(root: Path) -> Store:
    """A store in which all processes of the launch build together, on GPUs where there are any."""
    from distilcap.store.stage import Store
    from distilcap.training.processes import launched

    return Store(root, launched(), PROGRESS)


def judge_data(stages: Iterable[Stage], store: Store) -> None:
    """Build the vocabularies of a plan first: data that can teach nothing is refused before hours of work."""
    from distilcap.stages.data import BuildVocabulary

    for planned in store.plan(stages):
        if isinstance(planned.stage, BuildVocabulary):
            store.build(planned.stage, PROGRESS)


def store_option(function: Function) -> Function:
    """--store: where artifacts are kept."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        envvar="DISTILCAP_STORE",
        help="Folder of all artifacts; a complete artifact in it is not made again.",
    )(function)


def precision_here(precision: str, device: str) -> str:
    """Resolve the precision "auto" on a device, and say what it is."""
    from distilcap.training.precision import resolved_precision

    resolved = resolved_precision(precision, device)
    if resolved != precision:
        PROGRESS.note(f"`precision` {precision} is {resolved} here ({device})")
    return resolved


def engine_options(function: Function) -> Function:
    """--engine: who runs the stages."""
    function = click.option(
        "--gpus-per-stage",
        type=Real(0, 1024),
        help="With ray: number of GPUs of a stage, such as 0.25. [default: 1 where there are GPUs]",
    )(function)
    function = click.option(
        "--cpus-per-stage",
        type=THREADS,
        default=1,
        help="With ray: number of threads of a stage.",
    )(function)
    return click.option(
        "--engine",
        type=click.Choice(["serial", "ray"]),
        default="serial",
        help="How stages run: serial, one after another; ray, many at once, on a cluster or this machine.",
    )(function)


def engine_of(engine: str, cpus_per_stage: int, gpus_per_stage: float | None) -> Share | None:
    """The processors and GPUs of a stage on a cluster; None without a cluster.

    Raises:
        ConfigError: a launch of several processes asks for a cluster.
    """
    if engine == "serial":
        return None
    from distilcap.store.cluster import Share

    if processes_asked_for()[1] > 1:
        raise ConfigError("`engine` ray starts processes itself: run the command without a launcher.")
    return Share(cpus_per_stage, gpus_per_stage)
