"""Pseudo-captions of any number of images, by any number of processes that need not know of one another.

An image belongs to the shard that the hash of its id names, so every process finds its own share. A shard
has its final name once it is finished; until then each batch is on disk before the next begins (in a
`RecordLog`), and a killed process goes on after its last one.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from distilcap.data.captions import Caption, record_of
from distilcap.data.dataset import ImageRecord
from distilcap.data.features import Skipped
from distilcap.data.neutral import neutral_caption
from distilcap.encoders.loader import batched, decoded, in_order, readable_again
from distilcap.errors import ConfigError, DataError
from distilcap.files import expected
from distilcap.progress import Progress
from distilcap.record_log import RecordLog, check_options
from distilcap.runtime.formats import left_out
from distilcap.teachers.listing import Listing, NamedImage, escaped, named_images
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import (
    FinishedShard,
    Labelled,
    Shard,
    labelled_of,
    read_shard,
    write_shard,
)
from distilcap.text.people import RULES_VERSION

__all__ = ["PhotoCaptioner", "SeeingCaptioner", "check_labels", "label_shard"]


class PhotoCaptioner(Protocol):
    """What captions photographs: a run of ours (`RunCaptioner`), or a model of `transformers`."""

    @property
    def name(self) -> str:
        """Another for other weights: a shard is not continued by another captioner."""

    def read(self, photo: Path) -> Any:
        """Decode a photograph, or raise a DataError; threads do this beside the model."""

    def label(self, photos: Sequence[Any], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        """Caption what `read` gave; each photograph gets `n_best` captions, best first."""


@runtime_checkable
class SeeingCaptioner(PhotoCaptioner, Protocol):
    """A captioner that sees and describes apart, so that threads can see beside the search."""

    def see(self, photos: Sequence[Any]) -> Any:
        """Encode what `read` gave, of one photograph at least."""

    def describe(self, seen: Any, beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        """Caption what `see` gave, as `label` would."""


def check_labels(name: str, made: Any, ids: Sequence[str]) -> None:
    """A teacher of a plugin may give anything.

    Args:
        ids: of the images that it captioned.

    Raises:
        ConfigError: it is not a sequence with one caption at least for each of them.
    """
    rule = f"The teacher {name}: `label` must return a tuple of `Caption`s for each photograph"
    if not isinstance(made, Sequence) or len(made) != len(ids):
        what = f"{len(made)}" if isinstance(made, Sequence) else f"a {type(made).__name__}"
        raise ConfigError(f"{rule}, here {len(ids)}, but returns {what}.")
    for image_id, best in zip(ids, made, strict=True):
        if not isinstance(best, tuple | list) or not all(isinstance(item, Caption) for item in best):
            raise ConfigError(f"{rule}, but returns {best!r:.60}.")
        if not best:
            raise ConfigError(f"{rule}, but returns none for image {image_id!r}.")


def label_shard(
    captioner: PhotoCaptioner,
    source: Path,
    folder: Path,
    options: LabelOptions,
    progress: Progress,
    listing: Listing | None = None,
) -> Labelled:
    """Caption a part of the images into `folder`; a finished shard is left as it is.

    A shard that was begun goes on, and tries again what was skipped.

    A finished shard that was damaged since is made again from the batch of its first damaged line on, with a
    remark.

    Args:
        source: a folder of images, a list, or packed files; see `named_images`.
        listing: of the source, where it was made for all parts.

    Raises:
        DataError: another process is at this shard, or began it with other options; it was finished, but for
            other images; or the captioner gives an image a log-probability of NaN.
    """
    shard, batch_images = options.part, options.batch_images
    recipe = {
        "run": captioner.name,
        "beam": options.beam_size,
        "n_best": options.n_best,
        "shards": shard.count,
    } | ({"neutral_people": RULES_VERSION} if options.neutral_people else {})
    finished = read_shard(shard, folder)
    if finished and finished.summary:
        check_options(folder / f"{shard}.json", finished.summary["recipe"], recipe)
    others = Counter[str]()
    if listing is None:
        own, listed = _own(named_images(source, others), shard)
    else:
        own, _ = _own(listing.of(shard), shard)
        listed, others = listing.images, listing.others
    files = _digest(own)
    if finished and finished.summary.get("files", files) != files:
        raise DataError(
            f"{folder / f'{shard}.json'}: was finished for other images than {source} has now; choose "
            "another folder or delete it."
        )
    if finished and not finished.damage:
        labelled = labelled_of([finished.summary])
        if (again := readable_again(labelled.skipped, own.values(), captioner.read)) is not None:
            path = folder / f"{shard}.jsonl"
            progress.note(
                f"{again!r}, which was skipped, can be read now; delete {path} to have it captioned."
            )
        return labelled
    started = time.perf_counter()
    begun = recipe | {"images": files}
    with RecordLog(folder / f".{shard}.partial.jsonl", begun, progress) as log:
        finished = read_shard(shard, folder)
        if finished and not finished.damage:  # another process finished it meanwhile
            log.remove()
            return labelled_of([finished.summary])
        if others:
            progress.note(f"{source}: {left_out(others)}.")
        if finished:
            progress.note(f"{finished.damage}; it is made again from there.")
            _reopen(shard, folder, finished, log, _whole_batches(own, finished, batch_images))
        with expected(log.path, "a log of this labelling; delete it"):
            captioned = {line["image"]: line for record in log.records for line in record["captions"]}
            skipped = {Skipped(**image).id: image for record in log.records for image in record["skipped"]}
            before = float(log.records[-1]["seconds"]) if log.records else 0.0
        todo = [image for image in own.values() if image.id not in captioned]
        # Last, so that the batches are those of a run that was not killed: numbers are rounded by batch.
        todo.sort(key=lambda image: image.id in skipped)
        tracked = progress.track(todo, f"Captioning {shard}", len(own), len(own) - len(todo))
        for batch in _batches(captioner, tracked, batch_images, options.threads):
            record = batch.label(captioner, options)
            log.append(record | {"seconds": round(before + time.perf_counter() - started, 3)})
            captioned |= {line["image"]: line for line in record["captions"]}
            skipped |= {image["id"]: image for image in record["skipped"]}
        seconds = round(before + time.perf_counter() - started, 3)
        summary = {
            "recipe": recipe,
            "seconds": seconds,
            "listed": listed,
            "files": files,
            "skipped": [skipped[image_id] for image_id in own if image_id not in captioned],
        }
        captions = [captioned[image_id] for image_id in own if image_id in captioned]
        labelled = write_shard(shard, folder, captions, summary)
        log.remove()
        return labelled


@dataclass(frozen=True)
class _Batch:
    """Images that are captioned together: those that could be read, what was seen in them (or what was read),
    and the others."""

    ids: Sequence[str]
    seen: Any
    skipped: Sequence[Mapping[str, str]]

    @staticmethod
    def see(captioner: PhotoCaptioner, images: Sequence[tuple[ImageRecord, Any]]) -> _Batch:
        readable = [(image.id, photo) for image, photo in images if not isinstance(photo, DataError)]
        skipped = [
            {"id": image.id, "reason": escaped(str(problem))}
            for image, problem in images
            if isinstance(problem, DataError)
        ]
        seen: Any = [photo for _, photo in readable]
        if readable and isinstance(captioner, SeeingCaptioner):
            seen = captioner.see(seen)
        return _Batch([image_id for image_id, _ in readable], seen, skipped)

    def label(self, captioner: PhotoCaptioner, options: LabelOptions) -> dict[str, Any]:
        """Caption them: the log's record of it."""
        describe = captioner.describe if isinstance(captioner, SeeingCaptioner) else captioner.label
        made = describe(self.seen, options.beam_size, options.n_best) if self.ids else []
        check_labels(captioner.name, made, self.ids)
        if options.neutral_people:
            made = [tuple(map(neutral_caption, best)) for best in made]
        captions = [record_of(image_id, best) for image_id, best in zip(self.ids, made, strict=True)]
        return {"captions": captions, "skipped": self.skipped}


def _whole_batches(own: Mapping[str, ImageRecord], damaged: FinishedShard, batch_images: int) -> set[str]:
    """Images before the first that is damaged, as far as their batches are whole: others are captioned in
    the batches that they were in, since numbers are rounded by batch."""
    done = damaged.lines.keys() | {image["id"] for image in damaged.summary.get("skipped", [])}
    first = next((at for at, image_id in enumerate(own) if image_id not in done), len(own))
    return set(itertools.islice(own, first - first % batch_images))


def _reopen(shard: Shard, folder: Path, damaged: FinishedShard, log: RecordLog, kept: Set[str]) -> None:
    """Make a damaged shard one that was broken off after the images that are kept."""
    log.append(
        {
            "captions": [json.loads(line) for image_id, line in damaged.lines.items() if image_id in kept],
            "skipped": [image for image in damaged.summary.get("skipped", []) if image["id"] in kept],
            "seconds": damaged.summary.get("seconds", 0.0),
        }
    )
    (folder / f"{shard}.jsonl").unlink()
    (folder / f"{shard}.json").unlink(missing_ok=True)


def _own(images: Iterable[NamedImage], shard: Shard) -> tuple[dict[str, ImageRecord], int]:
    """The shard's images by id, and how many there are in all."""
    own: dict[str, ImageRecord] = {}
    listed = 0
    for image in images:
        listed += 1
        image_id = image.id
        if shard.holds(image_id):
            key = next(key for key in _ids(image) if key not in own or own[key].path == image.path)
            own[key] = ImageRecord(key, image.path, "train")
    return own, listed


def _ids(image: NamedImage) -> Iterator[str]:
    """Of two files of one name but for the ending the first has the id, the other its whole name."""
    name = escaped(image.name)
    yield image.id
    yield name
    stem, ending = os.path.splitext(name)
    yield from (f"{stem}#{number}{ending}" for number in itertools.count(2))


def _digest(images: Mapping[str, ImageRecord]) -> str:
    """Of the images' ids and sizes; the folder itself may have been moved."""
    digest = hashlib.sha256()
    for image_id, image in sorted(images.items()):
        try:
            size = image.path.stat().st_size
        except OSError:
            size = -1
        digest.update(f"{size} {image_id}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _batches(
    captioner: PhotoCaptioner, images: Iterable[ImageRecord], batch_images: int, threads: int
) -> Iterator[_Batch]:
    """Decode and see, each a little ahead of the search."""
    with ThreadPoolExecutor(threads) as decoders, ThreadPoolExecutor(threads) as viewers:
        read = decoded(decoders, images, captioner.read, ahead=2 * batch_images)
        batches = batched(read, batch_images)
        yield from in_order(viewers, functools.partial(_Batch.see, captioner), batches, ahead=threads)
