"""How packages report progress without printing: the command line passes an object that draws bars."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["LOGGED", "SILENT", "Logged", "Progress", "Silent"]

T = TypeVar("T")


class Progress(Protocol):
    """Receives a step's items as they are worked through, and its remarks."""

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        """Yield `items`, showing that `done` of `total` were finished before and how long the rest takes."""

    def note(self, message: str) -> None:
        """Show a remark on a line, such as a validation score or a skipped image."""


class Silent:
    """A `Progress` that shows nothing."""

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        """Yield `items`."""
        yield from items

    def note(self, message: str) -> None:
        """Drop the remark."""


SILENT = Silent()


class Logged:
    """A `Progress` that logs remarks, and steps with their seconds: logger "distilcap", level INFO."""

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        """Yield `items`."""
        started = time.perf_counter()
        yield from items
        logging.getLogger("distilcap").info("%s: %.1f s", description, time.perf_counter() - started)

    def note(self, message: str) -> None:
        """Log the remark."""
        logging.getLogger("distilcap").info("%s", message)


LOGGED = Logged()
