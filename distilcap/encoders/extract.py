"""Feature extraction: image files to a `FeatureStore`, going on after a kill and past bad images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import (
    FeatureStore,
    FeatureWriter,
    Skipped,
    check_space,
    readable_size,
    store_bytes,
)
from distilcap.encoders.base import Encoder
from distilcap.encoders.pixels import Bytes, load_pixels, normalise
from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.shapes import Regions

__all__ = ["extract_features"]

A = TypeVar("A")
B = TypeVar("B")

FLUSH_IMAGES = 256  # a kill costs at most about this many images


def extract_features(
    encoder: Encoder,
    images: Sequence[ImageRecord],
    folder: Path,
    progress: Progress,
    *,
    batch_size: int = 8,
    threads: int = 2,
    device: str = "cpu",
) -> list[Skipped]:
    """Write the regions of all images that can be read into a store at `folder`; list the others.

    Decoding and resizing run in `threads` threads beside the model. On the CPU the model too runs in
    `threads` threads, each with a batch of its own: faster than sharing one batch's operations.
    A complete store of the same recipe is left as it is; one broken off is gone on with.

    Raises:
        DataError: two images share an id, the disk is too small, or `folder` holds another recipe's features.
    """
    ids = {image.id for image in images}
    if len(ids) != len(images):
        raise DataError("Two images have the same id; ids must be distinct.")
    recipe = encoder.recipe()
    if (folder / "store.json").exists():
        return _already(folder, recipe, ids)
    count = len(images)
    size = store_bytes(count, encoder.regions, encoder.dim)
    check_space(folder, size)
    writer = FeatureWriter(folder, recipe, encoder.regions, encoder.dim)
    done = set(writer.ids) | {one.id for one in writer.skipped}
    todo = [image for image in images if image.id not in done]
    progress.note(
        f"{count:,} images x {encoder.regions} regions x {encoder.dim} features: "
        f"{readable_size(size)} in {folder}" + (f"; {count - len(todo):,} are there already" if done else "")
    )
    started = time.perf_counter()
    try:
        _write_all(encoder, todo, writer, progress, batch_size, threads, device)
    finally:
        writer.close()
    seconds = time.perf_counter() - started
    store = FeatureWriter(folder, recipe, encoder.regions, encoder.dim).finish()
    progress.note(f"{len(todo) / max(seconds, 1e-9):.1f} images per second; {len(store.skipped)} skipped")
    return list(store.skipped)


def _already(folder: Path, recipe: dict[str, object], ids: set[str]) -> list[Skipped]:
    store = FeatureStore.open(folder)
    if store.recipe != recipe:
        raise DataError(f"{folder}: holds features of another recipe; choose another folder or delete it.")
    lacking = ids - set(store.ids) - {one.id for one in store.skipped}
    if lacking:
        raise DataError(
            f'{folder}: a complete store that lacks {len(lacking)} images, such as "{min(lacking)}"; '
            "choose another folder or delete it."
        )
    return [one for one in store.skipped if one.id in ids]


def _write_all(
    encoder: Encoder,
    images: Sequence[ImageRecord],
    writer: FeatureWriter,
    progress: Progress,
    batch_size: int,
    threads: int,
    device: str,
) -> None:
    preprocessing = encoder.preprocessing

    def decode(image: ImageRecord) -> tuple[ImageRecord, Bytes | DataError]:
        try:
            return image, load_pixels(image.path, preprocessing)
        except DataError as error:
            return image, error

    def see(batch: list[tuple[str, Bytes]]) -> tuple[list[str], np.ndarray, list[int]]:
        pixels = torch.from_numpy(normalise(np.stack([one for _, one in batch]), preprocessing))
        with torch.inference_mode():
            regions: Regions = encoder(pixels.to(device, memory_format=torch.channels_last))
            features = regions.features.to("cpu", torch.float16).numpy()
        return [image_id for image_id, _ in batch], features, regions.mask.sum(1).tolist()

    def batches(
        decoded: Iterable[tuple[ImageRecord, Bytes | DataError]],
    ) -> Iterator[list[tuple[str, Bytes]]]:
        batch: list[tuple[str, Bytes]] = []
        for image, pixels in decoded:
            if isinstance(pixels, DataError):
                progress.note(f"Skipped: {pixels}")
                writer.skip(Skipped(image.id, str(pixels)))
                continue
            batch.append((image.id, pixels))
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    models = threads if device == "cpu" else 1
    with (
        ThreadPoolExecutor(threads) as decoders,
        ThreadPoolExecutor(models, initializer=torch.set_num_threads, initargs=(1,)) as viewers,
    ):
        tracked = progress.track(images, "Features", len(images) + len(writer.ids), len(writer.ids))
        decoded = in_order(decoders, decode, tracked, ahead=2 * batch_size * models)
        unflushed = 0
        for ids, features, counts in in_order(viewers, see, batches(decoded), ahead=models):
            writer.add(ids, features, counts)
            unflushed += len(ids)
            if unflushed >= FLUSH_IMAGES:
                writer.flush()
                unflushed = 0


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[A], B], items: Iterable[A], ahead: int
) -> Iterator[B]:
    """Like `pool.map`, but takes at most `ahead` items beyond the one whose result is awaited."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
