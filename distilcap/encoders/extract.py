"""Feature extraction: image files to a `FeatureStore`, going on after a kill and past bad images."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from distilcap.data.dataset import ImageRecord
from distilcap.data.feature_writer import FeatureWriter, begun_bytes
from distilcap.data.features import (
    FeatureStore,
    Halves,
    Skipped,
    check_space,
    finite_rows,
    readable_size,
    store_bytes,
)
from distilcap.encoders.base import Encoder
from distilcap.encoders.loader import UNSEEN, decoded, in_order, readable_again
from distilcap.errors import ConfigError, DataError
from distilcap.files import sha256_of
from distilcap.progress import Progress
from distilcap.runtime.pixels import Bytes, load_pixels, normalise, read_image

__all__ = ["extract_features"]

FLUSH_IMAGES = 256  # a kill costs at most about this many images

Decoded: TypeAlias = tuple[Bytes, str]
"""Pixels, and the SHA-256 of the file that they were read from."""
Batch: TypeAlias = list[tuple[ImageRecord, Decoded]]


def extract_features(
    encoder: Encoder,
    images: Sequence[ImageRecord],
    folder: Path,
    progress: Progress,
    *,
    batch_size: int = 8,
    threads: int = 2,
    device: str = "cpu",
    known: Iterable[FeatureStore] = (),
) -> list[Skipped]:
    """Write the regions of all images that can be read into a store at `folder`; list the others.

    Decoding and resizing run in `threads` threads beside the model. On the CPU the model too runs in
    `threads` threads, each with a batch of its own: faster than sharing one batch's operations. What an
    engine runs (`engines.run_by`) stays on the CPU.
    A complete store of the same recipe is left as it is, and it is said if an image that was skipped can be
    read by now; an unfinished store goes on, and tries again what was skipped. An image for which
    the encoder gives NaN or infinity is skipped too.

    Args:
        known: stores from which the features of an image are copied, if they are of the encoder's recipe,
            and of an image of the same id and the same bytes.

    Raises:
        ConfigError: `batch_size` or `threads` is less than 1.
        DataError: two images share an id, the disk is too small, `folder` holds another recipe's features,
            another process extracts into it, an image goes away meanwhile, or the encoder gives NaN or
            infinity for the first 256 images or for all.
    """
    for name, value in (("batch_size", batch_size), ("threads", threads)):
        if value < 1:
            raise ConfigError(f"`{name}` must be at least 1, but is {value}.")
    ids = {image.id for image in images}
    if len(ids) != len(images):
        raise DataError("Two images have the same id; ids must be distinct.")
    recipe = encoder.recipe()
    if (folder / "store.json").exists():
        return _already(folder, recipe, images, progress)
    count = len(images)
    size = store_bytes(count, encoder.regions, encoder.dim)
    check_space(folder, size - begun_bytes(folder))
    writer = FeatureWriter(folder, recipe, encoder.regions, encoder.dim, progress)
    for store in known:
        if store.recipe == recipe:
            _copy(store, images, writer, progress, threads)
    done = set(writer.ids)
    todo = [image for image in images if image.id not in done]
    progress.note(
        f"{count:,} images x {encoder.regions} regions x {encoder.dim} features: "
        f"{readable_size(size)} in {folder}" + (f"; {count - len(todo):,} are there already" if done else "")
    )
    started = time.perf_counter()
    try:
        _write_all(encoder, todo, writer, progress, batch_size, threads, device)
        seconds = time.perf_counter() - started
        store = writer.finish()
    finally:
        writer.close()
    progress.note(f"{len(todo) / max(seconds, 1e-9):.1f} images per second; {len(store.skipped)} skipped")
    return list(store.skipped)


def _copy(
    store: FeatureStore,
    images: Sequence[ImageRecord],
    writer: FeatureWriter,
    progress: Progress,
    threads: int,
) -> None:
    """Take over what another store has of images that the writer lacks; what is damaged is left."""
    there = set(writer.ids)
    todo = [image for image in images if image.id not in there and store.file_of(image.id)]
    if not todo:
        return
    before = writer.copied
    with ThreadPoolExecutor(threads) as pool:
        tracked = progress.track(todo, f"Features from {store.folder.name}", len(todo))
        compared = decoded(pool, tracked, _file_digest, 2 * threads)
        same = ((image.id, digest) for image, digest in compared if digest == store.file_of(image.id))
        while chunk := dict(itertools.islice(same, FLUSH_IMAGES)):
            try:
                features, counts = store.rows(list(chunk))
            except DataError as error:
                progress.note(f"Extracting again instead of copying {len(chunk)} images: {error}")
                continue
            writer.add(list(chunk), features, counts.tolist(), list(chunk.values()), copied=True)
            writer.flush()
    progress.note(f"{writer.copied - before:,} images have their features from {store.folder}")


def _file_digest(path: Path) -> str:
    """See `sha256_of`.

    Raises:
        DataError: there is no file any more.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}.") from None


def _already(
    folder: Path, recipe: dict[str, object], images: Sequence[ImageRecord], progress: Progress
) -> list[Skipped]:
    store, ids = FeatureStore.open(folder), {image.id for image in images}
    if store.recipe != recipe:
        raise DataError(f"{folder}: holds features of another recipe; choose another folder or delete it.")
    lacking = ids - set(store.ids) - {entry.id for entry in store.skipped}
    if lacking:
        raise DataError(
            f'{folder}: a complete store that lacks {len(lacking)} images, such as "{min(lacking)}"; '
            "choose another folder or delete it."
        )
    store.check_rows()  # a store may be gone on with whose stage was killed before it was sealed
    skipped = [entry for entry in store.skipped if entry.id in ids]
    if (image := readable_again(skipped, images, read_image)) is not None:
        progress.note(
            f'{folder}: "{image}", which was skipped, can be read now; delete the folder to have it.'
        )
    return skipped


def _write_all(
    encoder: Encoder,
    images: Sequence[ImageRecord],
    writer: FeatureWriter,
    progress: Progress,
    batch_size: int,
    threads: int,
    device: str,
) -> None:
    """Decode, see, write: three rows of workers, each a little ahead of the next."""
    if isinstance(encoder, nn.Module):
        layout = torch.channels_last
        encoder.to(device).eval()
        encoder.to(memory_format=layout)  # type: ignore[call-overload]
    else:
        device, layout = "cpu", torch.contiguous_format

    def skip(image: ImageRecord, why: str) -> None:
        progress.note(f"Skipped: {why}")
        writer.skip(Skipped(image.id, why))

    missing = {image.id for image in images if not os.path.exists(image.path)}

    def batches(images: Iterable[tuple[ImageRecord, Decoded | DataError]]) -> Iterator[Batch]:
        batch: Batch = []
        for image, content in images:
            if isinstance(content, DataError):
                # Such as those of a disk that was unplugged.
                if image.id not in missing and not os.path.exists(image.path):
                    raise DataError(
                        f"{image.path}: gone since the extraction began; bring the images back, and the same "
                        "command goes on."
                    )
                skip(image, str(content))
                continue
            batch.append((image, content))
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def see(batch: Batch) -> tuple[Batch, Halves, list[int]]:
        bytes_ = np.stack([pixels for _, (pixels, _) in batch])
        pixels = torch.from_numpy(normalise(bytes_, encoder.preprocessing))
        with torch.inference_mode():
            regions = encoder(pixels.to(device, memory_format=layout))
            features = regions.features.to("cpu", torch.float16).numpy()
        return batch, features, regions.mask.sum(1).tolist()

    def decode(path: Path) -> Decoded:
        return load_pixels(path, encoder.preprocessing), _file_digest(path)

    viewers = threads if device == "cpu" else 1
    tracked = progress.track(images, "Features", len(images) + len(writer.ids), len(writer.ids))
    intra_op = torch.get_num_threads()
    try:
        with (
            ThreadPoolExecutor(threads) as decode_pool,
            ThreadPoolExecutor(viewers, initializer=torch.set_num_threads, initargs=(1,)) as view_pool,
        ):
            ahead = 2 * batch_size * viewers
            seen = in_order(
                view_pool,
                see,
                batches(decoded(decode_pool, tracked, decode, ahead)),
                ahead=viewers,
            )
            unflushed = 0
            unusable: list[ImageRecord] = []
            for batch, features, counts in seen:
                unusable += _add_finite(writer, batch, features, counts)
                if writer.ids:
                    for image in unusable:
                        skip(image, f"{image.path}: {UNSEEN}.")
                    unusable.clear()
                elif len(unusable) >= FLUSH_IMAGES:
                    break  # it would be so for all
                unflushed += len(batch)
                if unflushed >= FLUSH_IMAGES:
                    writer.flush()
                    unflushed = 0
    finally:
        torch.set_num_threads(intra_op)
    if unusable:
        raise DataError(
            f"The encoder {encoder.name} gives NaN or infinity for every image, such as {unusable[0].path}; "
            "its weights are damaged, or too large for float16: take others."
        )


def _add_finite(
    writer: FeatureWriter, batch: Batch, features: Halves, counts: Sequence[int]
) -> list[ImageRecord]:
    """Write the rows that are free of NaN and infinity; return the images of the others."""
    finite = finite_rows(features)
    rows = np.flatnonzero(finite).tolist()
    files = [digest for _, (_, digest) in batch]
    writer.add(
        [batch[row][0].id for row in rows],
        features[rows],
        [counts[row] for row in rows],
        [files[row] for row in rows],
    )
    return [image for (image, _), usable in zip(batch, finite, strict=True) if not usable]
