"""Pseudo-captions of any number of images, by any number of processes that need not know of one another.

An image belongs to the shard that the hash of its id names, so every process finds its own share. A shard
has its final name once it is finished; until then each batch is on disk before the next begins (in a
`RecordLog`), and a killed process goes on after its last one. A finished shard is two files: its captions, and
a summary with a checksum of each line of them.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from distilcap.data.captions import Caption, parse_captions, record_of
from distilcap.data.dataset import ImageRecord
from distilcap.data.features import Skipped
from distilcap.data.readers.entries import IMAGE_ENDINGS, image_id_of
from distilcap.encoders.loader import decoded
from distilcap.errors import ConfigError, DataError
from distilcap.files import (
    atomic_path,
    checksum_file,
    read_checked_json,
    write_bytes,
    write_checked_json,
    write_checksum,
)
from distilcap.progress import Progress
from distilcap.record_log import RecordLog, check_options

__all__ = ["Labelled", "PhotoCaptioner", "Shard", "find_images", "label_shard", "merge_shards"]

_FORM = "distilcap shard 2"  # of a summary; 1 had no checksums


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
        return zlib.crc32(image_id.encode("utf-8", "surrogatepass")) % self.count == self.number


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
    """Caption a shard's images into `folder`; one that is finished already is left as it is.

    A finished shard that was damaged since is made again from its first damaged line on, with a remark.

    Args:
        source: a folder of images, or a list; see `find_images`.
        threads: that decode images beside the model.

    Raises:
        ConfigError: `n_best` is not in 1 to `beam`.
        DataError: another process is at this shard, or began it with other options; or the captioner gives an
            image a log-probability of NaN.
    """
    if not 1 <= n_best <= beam:
        raise ConfigError(f"`n_best` must be in 1 to `beam` ({beam}), but is {n_best}.")
    recipe = {"run": captioner.name, "beam": beam, "n_best": n_best, "shards": shard.count}
    finished = _read_finished(shard, folder)
    if finished and finished.summary:
        check_options(folder / f"{shard}.json", finished.summary["recipe"], recipe)
    if finished and not finished.damage:
        return _labelled([finished.summary])
    started = time.perf_counter()
    with RecordLog(folder / f".{shard}.partial.jsonl", recipe, progress) as log:
        finished = _read_finished(shard, folder)
        if finished and not finished.damage:  # another process finished it meanwhile
            log.remove()
            return _labelled([finished.summary])
        if finished:
            progress.note(f"{finished.damage}; it is made again from there.")
            _reopen(shard, folder, finished, log)
        captioned = {one["image"]: one for record in log.records for one in record["captions"]}
        skipped = {one["id"]: one for record in log.records for one in record["skipped"]}
        before = log.records[-1]["seconds"] if log.records else 0.0
        todo, images, listed = _todo(source, shard, captioned.keys() | skipped.keys())
        tracked = progress.track(todo, f"Captioning {shard}", images, images - len(todo))
        for batch in _batches(captioner, tracked, batch_images, threads):
            record = _label(captioner, batch, beam, n_best)
            log.append(record | {"seconds": round(before + time.perf_counter() - started, 3)})
            captioned |= {one["image"]: one for one in record["captions"]}
            skipped |= {one["id"]: one for one in record["skipped"]}
        lines = [json.dumps(one, ensure_ascii=False).encode() for one in captioned.values()]
        summary = {
            "format": _FORM,
            "recipe": recipe,
            "seconds": round(before + time.perf_counter() - started, 3),
            "listed": listed,
            "images": len(lines),
            "skipped": list(skipped.values()),
            "crc32": [zlib.crc32(line) for line in lines],
        }
        # The summary first: with the captions the shard counts as finished.
        write_checked_json(folder / f"{shard}.json", summary)
        write_bytes(folder / f"{shard}.jsonl", b"".join(line + b"\n" for line in lines))
        log.remove()
        return _labelled([summary])


def _label(
    captioner: PhotoCaptioner, batch: Sequence[tuple[ImageRecord, Any]], beam: int, n_best: int
) -> dict[str, Any]:
    """Caption what of a batch could be read: the log's record of it."""
    readable = [(image.id, photo) for image, photo in batch if not isinstance(photo, DataError)]
    several = captioner.label([photo for _, photo in readable], beam, n_best) if readable else []
    return {
        "captions": [
            record_of(image_id, captions) for (image_id, _), captions in zip(readable, several, strict=True)
        ],
        "skipped": [
            {"id": image.id, "reason": _escaped(str(problem))}
            for image, problem in batch
            if isinstance(problem, DataError)
        ],
    }


def _escaped(text: str) -> str:
    """A file's name may hold bytes that are not UTF-8, which a file of captions cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class _Finished:
    """A finished shard as it lies on disk.

    Attributes:
        summary: empty if it is damaged.
        lines: of the captions file by image, up to the first that is damaged.
        damage: what is damaged, and where; empty if nothing is.
    """

    summary: dict[str, Any]
    lines: dict[str, bytes]
    damage: str


def _read_finished(shard: Shard, folder: Path) -> _Finished | None:
    """Read a shard and check it; None if it is not finished."""
    path = folder / f"{shard}.jsonl"
    if not path.exists():
        return None
    summary: dict[str, Any] = {}
    lines: dict[str, bytes] = {}
    try:
        summary = _read_summary(folder / f"{shard}.json")
        for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
            where = f"{path}:{number}"
            if "crc32" in summary and summary["crc32"][number - 1 : number] != [zlib.crc32(line)]:
                raise DataError(f"{where}: damaged (its checksum differs).")
            image_id, _ = parse_captions(line, where)
            if not (shard.holds(image_id) or shard.holds(image_id_of(image_id))):
                raise DataError(f"{where}: image {image_id!r} is not of this shard.")
            if image_id in lines:
                raise DataError(f"{where}: image {image_id!r} has a line already.")
            lines[image_id] = line
        if len(lines) != summary["images"]:
            raise DataError(f"{path}: has {len(lines)} lines, but should have {summary['images']}.")
    except DataError as error:
        return _Finished(summary, lines, str(error).removesuffix("."))
    return _Finished(summary, lines, "")


def _read_summary(path: Path) -> dict[str, Any]:
    summary = read_checked_json(path, _FORM)
    for name in ("recipe", "seconds", "listed", "images", "skipped"):
        if name not in summary:
            raise DataError(f"{path}: not the summary of a shard: it has no {name!r}.")
    return summary


def _reopen(shard: Shard, folder: Path, damaged: _Finished, log: RecordLog) -> None:
    """Make a damaged shard one that was broken off after its last whole line."""
    log.append(
        {
            "captions": [json.loads(line) for line in damaged.lines.values()],
            "skipped": damaged.summary.get("skipped", []),
            "seconds": damaged.summary.get("seconds", 0.0),
        }
    )
    (folder / f"{shard}.jsonl").unlink()
    (folder / f"{shard}.json").unlink(missing_ok=True)


def _todo(source: Path, shard: Shard, done: Set[str]) -> tuple[list[ImageRecord], int, int]:
    """The shard's images that are not done, how many it has, and how many there are in all shards."""
    own: dict[str, ImageRecord] = {}
    listed = 0
    for path in find_images(source):
        listed += 1
        name = path.relative_to(source).as_posix() if source.is_dir() else str(path)
        name = _escaped(name)
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
    summaries: list[dict[str, Any]] = []
    seen: set[str] = set()
    with atomic_path(to) as scratch:
        with scratch.open("wb") as merged:
            for shard in shards:
                again = (
                    f"`distilcap generate … --shards {shard.count} --shard {shard.number}` makes it again."
                )
                finished = _read_finished(shard, folder)
                if finished is None or finished.damage:
                    raise DataError(f"{finished.damage if finished else folder / str(shard)}; {again}")
                summaries.append(finished.summary)
                path = folder / f"{shard}.jsonl"
                check_options(path, finished.summary["recipe"], summaries[0]["recipe"])
                if twice := seen & finished.lines.keys():
                    raise DataError(
                        f"{path}: image {min(twice)!r} is in another shard too; rename one of the two files "
                        "and label both shards again."
                    )
                seen |= finished.lines.keys()
                merged.writelines(line + b"\n" for line in finished.lines.values())
        checksum_file(to).unlink(missing_ok=True)  # of the file that is now replaced
    write_checksum(to)
    return _labelled(summaries)
