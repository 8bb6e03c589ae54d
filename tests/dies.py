"""A progress display in whose midst the work dies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from distilcap.progress import Silent

T = TypeVar("T")


class Killed(Exception):
    """Stands for SIGKILL."""


class Dies(Silent):
    """Raises when the item behind so many is asked for."""

    def __init__(self, items: int, error: type[BaseException] = Killed) -> None:
        self.items, self.error = items, error

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        for number, item in enumerate(items):
            if number == self.items:
                raise self.error
            yield item
