"""`check_dataset`: all problems of a data set, in one list."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from distilcap.cores import usable_cores
from distilcap.data.captions import CaptionSet
from distilcap.data.cleaning import Cleaning, clean_captions
from distilcap.data.dataset import SPLITS
from distilcap.data.readers import find_entries
from distilcap.data.readers.columns import BY_NAME, Columns
from distilcap.data.readers.entries import Entry, Problem, ReadResult, split_by_hash
from distilcap.data.readers.find import ADDRESS, leave_out_twins
from distilcap.data.trainable import (
    Coverage,
    captioned_ids,
    check_enough,
    held_out,
    to_hold_out,
    usual_min_count,
    words_to_learn,
)
from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.large import opened, reduce
from distilcap.text.tokenizers import PTB

__all__ = ["Report", "check_dataset"]

_SCORED = ("val", "test")  # splits that `distill` needs


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        images: how many, by split.
        captions: how many that are not empty.
        problems: those of the caption files first, then those of the image files, each in order.
        cleaning: what `--clean-labels` would do to the captions.
        coverage: what a vocabulary keeps of the training captions; None where nothing can be trained on them.
        notes: remarks on how the data were read, which are no problems.
    """

    images: Mapping[str, int]
    captions: int
    problems: tuple[Problem, ...]
    cleaning: Cleaning
    coverage: Coverage | None = None
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many problems of each kind, the most frequent first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())


def check_dataset(
    path: Path,
    images: Path | None = None,
    split: str | None = None,
    progress: Progress = SILENT,
    min_count: int | None = None,
    tokenizer: str = PTB,
    columns: Columns = BY_NAME,
) -> Report:
    """Read the captions and decode every image; see `KINDS` for what is looked for.

    Takes the arguments of `read_dataset`, and the `min_count` (None is `usual_min_count`) and `tokenizer` of
    training.

    Raises:
        DataError: there is nothing to read, or a captions file as a whole is not of any known form.
    """
    result = find_entries(path, images, split, columns, line_breaks=True)
    leave_out_twins(result)
    entries = list(result.entries.values())
    if not entries and not result.problems:
        raise DataError(f"{path}: there are no images in it.")
    for entry in entries:
        if not entry.captions:
            result.problem("no captions", f"image '{entry.id}' has no captions.", entry.line, entry.source)
    written = CaptionSet.of_texts({entry.id: entry.captions for entry in entries if entry.captions})
    clean, cleaning = clean_captions(written, tokenizer=tokenizer)
    judged = clean if cleaning.unlike_people else written
    of_split = {
        name: captioned_ids(((entry.id, entry.path) for entry in entries if _split(entry) == name), judged)
        for name in SPLITS
    }
    moved = to_hold_out({name: len(ids) for name, ids in of_split.items()}, _SCORED, result.by_hash)
    apart = held_out(of_split["train"], moved)
    coverage = None
    if any(_split(entry) == "train" for entry in entries):  # else they are data to score captions on
        try:
            coverage = _judge(entries, judged, of_split, apart, min_count, tokenizer, result)
        except DataError as error:
            why = f" `--clean-labels` {cleaning}." if cleaning.unlike_people and cleaning.dropped else ""
            result.problem("nothing to learn", f"{error}{why}", None)
        if cleaning.unlike_people:
            result.notes.append(
                "captions are judged as `--clean-labels` leaves them: many are as if a large model wrote "
                "them. Without it they are learnt as they are."
            )
    seen: dict[bytes, Entry] = {}
    with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as pool:
        try:
            looks = pool.map(_look_at, [entry.path for entry in entries])
            pairs = progress.track(zip(entries, looks, strict=True), "Checking images", len(entries))
            for entry, (kind, why, digest) in pairs:
                if kind:
                    message = f"image '{entry.id}': {entry.path} {why}{entry.hint}."
                    if entry.address:
                        message = f"image {entry.name!r} is an address on the internet; {ADDRESS}."
                    result.problem(kind, message, entry.line, entry.source)
                elif (original := seen.setdefault(digest, entry)) is not entry:
                    pair = ((image.id, apart.get(image.id, _split(image))) for image in (entry, original))
                    name, original_name = (f"'{image_id}' ({of})" for image_id, of in pair)
                    message = f"image {name} is the same file as {original_name}."
                    result.problem("duplicate image file", message, entry.line, entry.source)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    sizes = Counter(_split(entry) for entry in entries)
    captions = sum(len(entry.captions) for entry in entries)
    counts = {name: sizes[name] for name in SPLITS}
    return Report(counts, captions, tuple(result.problems), cleaning, coverage, tuple(result.notes))


def _judge(
    entries: Sequence[Entry],
    captions: CaptionSet,
    of_split: Mapping[str, Sequence[str]],
    apart: Mapping[str, str],
    min_count: int | None,
    tokenizer: str,
    result: ReadResult,
) -> Coverage:
    """What a vocabulary keeps of the captions, once images are held out as `distill` does; that is noted.

    Args:
        of_split: ids of the images with captions.
        apart: splits of those training images that are held out, by id.

    Raises:
        DataError: there is nothing to learn.
    """
    captioned = {name: len(ids) for name, ids in of_split.items()}
    moved = Counter(apart.values())
    try:
        check_enough(captioned, _SCORED, moved, result.by_hash)
    except DataError as error:
        if result.by_hash:
            raise
        result.notes.append(f"`distill` refuses them, though `train` may not: {error}")
    learnt = [entry.id for entry in entries if _split(entry) == "train" and entry.id in captions]
    train = [captions.texts(id) for id in learnt if id not in apart]
    if moved:
        counts = " and ".join(f"{count:,} for {name}" for name, count in moved.items())
        result.notes.append(
            f"of {captioned['train']:,} captioned training images `distill` sets {counts} aside."
        )
    validation = captioned["val"] + moved["val"]
    least = min_count or usual_min_count(sum(len(captions[id]) for id in learnt))
    return words_to_learn(train, validation, least, tokenizer=tokenizer)[1]


def _split(entry: Entry) -> str:
    return entry.split or split_by_hash(entry.id)


def _look_at(path: Path) -> tuple[str, str, bytes]:
    """Kind of problem or "", what is wrong, and a digest of the file's content."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            return "missing image", "is not a regular file", b""
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return "missing image", "is not there", b""
        return "missing image", f"cannot be read: {getattr(error, 'strerror', None) or error}", b""
    if not content:
        return "empty image file", "is an empty file", b""
    try:
        with opened(content) as image:
            reduce(image, 1)  # a JPEG is read to its end, but decoded at an eighth of its size
            image.load()
    except DataError as error:
        return "undecodable image", f"is {str(error).removesuffix('.')}", b""
    except (
        Exception
    ) as error:  # Pillow's decoders raise whatever they meet: OSError, SyntaxError, struct.error
        if "truncated" in str(error).lower() or "not enough" in str(error).lower():
            return "truncated image", f"ends too early: {error}", b""
        reason = (
            "is no image of a known form"
            if "cannot identify" in str(error)
            else f"cannot be decoded: {error}"
        )
        return "undecodable image", reason, b""
    return "", "", hashlib.blake2b(content, digest_size=16).digest()
