"""Pseudo-captions of any number of images, by any number of processes that need not know of one another.

An image belongs to the shard that the hash of its id names, so every process finds its own share. A shard
has its final name once it is whole; until then each batch is on disk before the next begins, and a killed
process goes on after its last one.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from distilcap.data.captions import Caption
from distilcap.data.dataset import ImageRecord
from distilcap.data.features import Skipped
from distilcap.data.readers.entries import IMAGE_ENDINGS, image_id_of
from distilcap.encoders.loader import decoded
from distilcap.errors import ConfigError, DataError
from distilcap.files import atomic_path, read_json, write_json
from distilcap.progress import Progress

__all__ = ["Labelled", "PhotoCaptioner", "Shard", "find_images", "label_shard", "merge_shards"]


class PhotoCaptioner(Protocol):
    """What captions photographs: a run of ours (`RunCaptioner`), or a model of `transformers`."""

    @property
    def name(self) -> str:
        """Another for other weights: a shard is not continued by another captioner."""

    def read(self, photo: Path) -> Any:
        """Decode a photograph, or raise a DataError; threads do this beside the model."""

    def label(self, photos: Sequence[Any], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        """Caption what `read` gave; each photograph gets `n_best` captions, best first."""


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a labelling, counted from 0."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"`shards` must be at least 1, but is {self.count}.")
        if not 0 <= self.number < self.count:
            raise ConfigError(f"`shard` must be in 0 to {self.count - 1}, but is {self.number}.")

    def __str__(self) -> str:
        return f"shard-{self.number:05}-of-{self.count:05}"

    def holds(self, image_id: str) -> bool:
        """Whether an image belongs to this shard."""
        return zlib.crc32(image_id.encode("utf-8", "surrogateescape")) % self.count == self.number


@dataclass(frozen=True)
class Labelled:
    """What came of a shard, or of all.

    Attributes:
        images: with captions.
        skipped: images without, and why.
        seconds: of work, over all sittings.
        listed: how many images each shard's process found in all; several numbers mean that images came or
            went meanwhile.
    """

    images: int
    skipped: tuple[Skipped, ...]
    seconds: float
    listed: tuple[int, ...]


def find_images(source: Path) -> Iterator[Path]:
    """All images of a folder and its subfolders, or those that a text file lists, one a line.

    Raises:
        DataError: there is no such folder or file.
    """
    if source.is_dir():
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_ENDINGS:
                    yield Path(folder, name)
        return
    try:
        for line in source.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                yield source.parent / line.strip()
    except FileNotFoundError:
        raise DataError(f"{source}: there is no such folder of images, nor a list of them.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a list of images in UTF-8 (byte {error.start}).") from None


def label_shard(
    captioner: PhotoCaptioner,
    source: Path,
    shard: Shard,
    folder: Path,
    *,
    beam: int = 5,
    n_best: int = 1,
    batch_images: int = 32,
    threads: int = 2,
    progress: Progress,
) -> Labelled:
    """Caption a shard's images into `folder`; one that is whole already is left as it is.

    Args:
        source: a folder of images, or a list; see `find_images`.
        threads: that decode images beside the model.

    Raises:
        ConfigError: `n_best` is not in 1 to `beam`.
        DataError: another process is at this shard, or began it with other options.
    """
    if not 1 <= n_best <= beam:
        raise ConfigError(f"`n_best` must be in 1 to `beam` ({beam}), but is {n_best}.")
    recipe = {"run": captioner.name, "beam": beam, "n_best": n_best, "shards": shard.count}
    final, summary = folder / f"{shard}.jsonl", folder / f"{shard}.json"
    if final.exists():
        _check_recipe(summary, read_json(summary)["recipe"], recipe)
        return _labelled([read_json(summary)])
    started = time.perf_counter()
    with _begun(folder / f".{shard}.partial.jsonl", recipe) as (log, done, seconds):
        if final.exists():  # another process finished it meanwhile
            return _labelled([read_json(summary)])
        todo, images, listed = _todo(source, shard, done)
        tracked = progress.track(todo, f"Captioning {shard}", images, len(done))
        for batch in _batches(captioner, tracked, batch_images, threads):
            readable = [(image.id, photo) for image, photo in batch if not isinstance(photo, DataError)]
            lines: dict[str, dict[str, Any]] = {
                image.id: {"image": image.id, "skipped": str(problem)}
                for image, problem in batch
                if isinstance(problem, DataError)
            }
            if readable:
                several = captioner.label([photo for _, photo in readable], beam, n_best)
                for (image_id, _), captions in zip(readable, several, strict=True):
                    lines[image_id] = {"image": image_id, "captions": [vars(one) for one in captions]}
            seconds_now = {"seconds": round(seconds + time.perf_counter() - started, 3)}
            _append(log, [*lines.values(), seconds_now])
        seconds += time.perf_counter() - started
        return _finish(
            log, final, summary, {"recipe": recipe, "seconds": round(seconds, 3), "listed": listed}
        )


def _todo(source: Path, shard: Shard, done: Mapping[str, Any]) -> tuple[list[ImageRecord], int, int]:
    """The shard's images that are not done, how many it has, and how many there are in all shards."""
    own: dict[str, ImageRecord] = {}
    listed = 0
    for path in find_images(source):
        listed += 1
        name = path.relative_to(source).as_posix() if source.is_dir() else str(path)
        image_id = image_id_of(name)
        if shard.holds(image_id):
            # Of two files of one name but for the ending the first has the id, the other its whole name.
            key = image_id if image_id not in own or own[image_id].path == path else name
            own[key] = ImageRecord(key, path, "train")
    return [image for image in own.values() if image.id not in done], len(own), listed


def _batches(
    captioner: PhotoCaptioner, images: Iterable[ImageRecord], batch_images: int, threads: int
) -> Iterator[list[tuple[ImageRecord, Any]]]:
    with ThreadPoolExecutor(threads) as pool:
        seen = decoded(pool, images, captioner.read, ahead=2 * batch_images)
        while batch := list(itertools.islice(seen, batch_images)):
            yield batch


@contextmanager
def _begun(path: Path, recipe: Mapping[str, Any]) -> Iterator[tuple[IO[bytes], dict[str, Any], float]]:
    """Open a shard in the making for this process alone: its file, what it has by image, seconds so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{path}: another process is at this shard; give each a number of its own."
            ) from None
        log.seek(0)
        content = log.read()
        whole = content.rfind(b"\n") + 1
        log.truncate(whole)  # a kill may have torn the last line
        records = [json.loads(line) for line in content[:whole].split(b"\n") if line]
        if records:
            _check_recipe(path, records[0].get("recipe"), recipe)
        else:
            _append(log, [{"recipe": recipe}])
        done = {record["image"]: record for record in records if "image" in record}
        yield log, done, next((one["seconds"] for one in reversed(records) if "seconds" in one), 0.0)


def _check_recipe(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    if found != wanted:
        raise DataError(
            f"{path}: begun with other options ({found}, now {dict(wanted)}); take another folder."
        )


def _append(log: IO[bytes], records: Iterable[Mapping[str, Any]]) -> None:
    log.write("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records).encode())
    log.flush()
    os.fsync(log.fileno())


def _finish(log: IO[bytes], final: Path, summary: Path, content: dict[str, Any]) -> Labelled:
    """Give a shard its final name: captions alone there, all else in the summary beside it."""
    log.seek(0)
    skipped, images = [], 0
    with atomic_path(final) as scratch:
        with scratch.open("wb") as whole:
            for line in log:
                record = json.loads(line)
                if "captions" in record:
                    whole.write(line)
                    images += 1
                elif "skipped" in record:
                    skipped.append({"id": record["image"], "reason": record["skipped"]})
        # The summary first: with the captions the shard counts as whole.
        write_json(summary, content | {"images": images, "skipped": skipped})
    Path(log.name).unlink()
    return _labelled([read_json(summary)])


def _labelled(summaries: list[dict[str, Any]]) -> Labelled:
    return Labelled(
        sum(one["images"] for one in summaries),
        tuple(Skipped(**skipped) for one in summaries for skipped in one["skipped"]),
        sum(one["seconds"] for one in summaries),
        tuple(sorted({one["listed"] for one in summaries})),
    )


def merge_shards(folder: Path, to: Path) -> Labelled:
    """Join all shards of a labelling into one captions file.

    Raises:
        DataError: shards are missing, damaged or of different options; the message names them.
    """
    names = sorted(path.stem for path in folder.glob("shard-*.jsonl"))
    begun = sorted(path.name[1:].partition(".")[0] for path in folder.glob(".shard-*.partial.jsonl"))
    counts = {int(found[1]) for one in names + begun if (found := re.search(r"-of-(\d+)$", one))}
    if len(counts) != 1:
        what = f"shards of {' and of '.join(map(str, sorted(counts)))}" if counts else "no shard"
        raise DataError(f"{folder}: holds {what}; expected the shards of one `distilcap generate --shards`.")
    shards = [Shard(number, counts.copy().pop()) for number in range(max(counts))]
    missing = [shard.number for shard in shards if str(shard) not in names]
    if missing:
        listed = ", ".join(f"{one}{' (begun)' if str(shards[one]) in begun else ''}" for one in missing)
        raise DataError(
            f"{folder}: {len(missing)} of {len(shards)} shards are missing: {listed}; "
            f"`distilcap generate … --shards {len(shards)} --shard {missing[0]}` makes one."
        )
    summaries = [read_json(folder / f"{shard}.json") for shard in shards]
    with atomic_path(to) as scratch, scratch.open("wb") as whole:
        for shard, summary in zip(shards, summaries, strict=True):
            path = folder / f"{shard}.jsonl"
            _check_recipe(path, summary["recipe"], summaries[0]["recipe"])
            content = path.read_bytes()
            if (lines := content.count(b"\n")) != summary["images"]:
                raise DataError(
                    f"{path}: has {lines} lines, but should have {summary['images']}; "
                    "delete it and label this shard again."
                )
            whole.write(content)
    return _labelled(summaries)
