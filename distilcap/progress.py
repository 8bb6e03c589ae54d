"""How packages report progress without printing: the command line passes an object that draws bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["SILENT", "Progress", "Silent"]

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
