"""Options and helpers that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distilcap.cli.bounds import FOLDER
from distilcap.cli.progress import PlainConsole, TerminalProgress
from distilcap.training.processes import processes_asked_for

if TYPE_CHECKING:
    from distilcap.store.store import Store

__all__ = [
    "CONSOLE",
    "FIRST",
    "PROGRESS",
    "open_store",
    "precision_here",
    "store_option",
]

FIRST = processes_asked_for()[0] == 0
"""Whether this is the first process of its launch: it alone prints, and writes results."""
# A file or a pipe has no width of its own: tables keep their columns there.
TO_TERMINAL = sys.stdout is not None and sys.stdout.isatty()
CONSOLE = PlainConsole(width=None if TO_TERMINAL else 140, quiet=not FIRST)
PROGRESS = TerminalProgress(PlainConsole(stderr=True, quiet=not FIRST))


Function = TypeVar("Function", bound=Callable[..., Any])


def open_store(root: Path) -> Store:
    """A store in which all processes of the launch build together, on GPUs where there are any."""
    from distilcap.store.store import Store
    from distilcap.training.processes import launched

    return Store(root, launched(), PROGRESS)


def store_option(function: Function) -> Function:
    """--store: where artifacts are kept."""
    return click.option(
        "--store",
        type=FOLDER,
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
