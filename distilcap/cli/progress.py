"""Progress bars with the time left, on a terminal; plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from distilcap.shown import shown

__all__ = ["PlainConsole", "TerminalProgress"]

T = TypeVar("T")


class PlainConsole(Console):
    """A console to which text is text: it is never markup, and nothing in it controls the terminal.

    A string is one line, in tables and titles too; takes the arguments of `Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string that is printed comes through here: lines, cells of tables, titles."""
        return super().render_str(shown(text), **options)

    def on_broken_pipe(self) -> None:
        """Whoever read this has gone (`| head`), where Rich ends with 1: without remarks the work goes on."""
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True


class TerminalProgress:
    """Draws a bar for each step on `console`; without a terminal, a line at the beginning and the end."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        """See `distilcap.progress.Progress`."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        if not self.console.is_terminal:
            yield from self._plain(items, description, total)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as bars:
            task = bars.add_task(shown(description), total=total, completed=done)
            for item in items:
                yield item
                bars.advance(task)

    def _plain(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        self.console.print(f"{description} …" + (f" ({total})" if total else ""))
        started = time.perf_counter()
        yield from items
        self.console.print(f"{description}: {time.perf_counter() - started:.1f} s")

    def note(self, message: str) -> None:
        """See `distilcap.progress.Progress`."""
        self.console.print(f"  {message}", style="dim")
