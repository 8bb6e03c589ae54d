"""Image files to batches of pixels: decoded in threads beside the model, in the order asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import Skipped
from distilcap.errors import DataError

__all__ = ["UNSEEN", "decoded", "in_order", "readable_again"]

UNSEEN: Final = "the encoder gives NaN or infinity for it"
"""Why an image was skipped that can be read."""

A = TypeVar("A")
B = TypeVar("B")


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[A], B], items: Iterable[A], ahead: int
) -> Iterator[B]:
    """Like `pool.map`, but takes at most `ahead` items beyond the item whose result is awaited."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
