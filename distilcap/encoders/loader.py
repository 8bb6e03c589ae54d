"""Image files to batches of pixels: decoded in threads beside the model, in the order asked for."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import Skipped
from distilcap.errors import DataError

__all__ = ["UNSEEN", "batched", "decoded", "in_order", "readable_again"]

UNSEEN: Final = "the encoder gives NaN or infinity for it"
"""Why an image was skipped that can be read."""

A = TypeVar("A")
B = TypeVar("B")


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[A], B], items: Iterable[A], ahead: int
) -> Iterator[B]:
    """Like `pool.map`, but takes at most `ahead` items beyond the item whose result is awaited.

    Where the items raise, what came of those before is given first.
    """
    waiting: deque[Future[B]] = deque()
    raised: list[Exception] = []
    for item in _until_raised(items, raised):
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    if raised:
        raise raised[0]


def batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Batches of `size` items, the last with the rest; where the items raise, those before come first."""
    raised: list[Exception] = []
    kept = _until_raised(items, raised)
    yield from iter(lambda: list(itertools.islice(kept, size)), [])
    if raised:
        raise raised[0]


def _until_raised(items: Iterable[A], raised: list[Exception]) -> Iterator[A]:
    """The items until they raise; `raised` receives what."""
    try:
        yield from items
    except Exception as error:
        raised.append(error)


def decoded(
    pool: ThreadPoolExecutor, images: Iterable[ImageRecord], read: Callable[[Path], B], ahead: int
) -> Iterator[tuple[ImageRecord, B | DataError]]:
    """Each image with what `read` makes of its file, or with what is wrong with it, in the order given."""

    def decode(image: ImageRecord) -> tuple[ImageRecord, B | DataError]:
        try:
            return image, read(image.path)
        except DataError as error:
            return image, error

    return in_order(pool, decode, images, ahead)


def readable_again(
    skipped: Iterable[Skipped], images: Iterable[ImageRecord], read: Callable[[Path], Any]
) -> str | None:
    """The first image that was skipped, but can be read by now (such as HEIC, once its extra is installed).

    The first alone: to find all would take as long as to see them.
    """
    paths = {image.id: image.path for image in images}
    for entry in skipped:
        if entry.id in paths and UNSEEN not in entry.reason:
            try:
                read(paths[entry.id])
            except DataError:
                continue
            return entry.id
    return None
