"""Finished shards of a labelling on disk: read, checked and merged.

A shard is two files: its captions, and a summary with a checksum of each line of them. Shards of an earlier
version have no checksums; their lines are counted and read.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilcap.data.captions import parse_captions
from distilcap.data.features import Skipped
from distilcap.data.readers.entries import image_id_of
from distilcap.errors import ConfigError, DataError
from distilcap.files import atomic_path, checksum_file, write_bytes, write_checksum
from distilcap.integrity import read_sealed_json, write_sealed_json
from distilcap.record_log import check_options, header_of

__all__ = [
    "FinishedShard",
    "Labelled",
    "Shard",
    "begun_by",
    "labelled_of",
    "merge_shards",
    "read_shard",
    "write_shard",
]

_FORM = "distilcap shard 2"  # of a summary; 1 had no checksums


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
        return Shard.number_of(image_id, self.count) == self.number

    @staticmethod
    def number_of(image_id: str, count: int) -> int:
        """Which of `count` shards an image belongs to."""
        return zlib.crc32(image_id.encode("utf-8", "surrogatepass")) % count


@dataclass(frozen=True)
class Labelled:
    """What came of a shard, or of all.

    Attributes:
        images: with captions.
        skipped: images without, and why.
        seconds: of work, over all runs.
        listed: how many images each shard's process listed in all; more than one number means that images
            came or went meanwhile.
    """

    images: int
    skipped: tuple[Skipped, ...]
    seconds: float
    listed: tuple[int, ...]


@dataclass(frozen=True)
class FinishedShard:
    """A finished shard as it lies on disk.

    Attributes:
        summary: empty if it is damaged.
        lines: of the captions file by image, up to the first that is damaged.
        damage: what is damaged, and where; empty if nothing is.
    """

    summary: dict[str, Any]
    lines: dict[str, bytes]
    damage: str


def read_shard(shard: Shard, folder: Path) -> FinishedShard | None:
    """Read a shard and check it; None if it is not finished."""
    path = folder / f"{shard}.jsonl"
    if not path.exists():
        return None
    summary: dict[str, Any] = {}
    lines: dict[str, bytes] = {}
    try:
        summary = _read_summary(folder / f"{shard}.json")
        content = path.read_bytes().removesuffix(b"\n")
        for number, line in enumerate(content.split(b"\n") if content else (), 1):
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
        return FinishedShard(summary, lines, str(error).removesuffix("."))
    return FinishedShard(summary, lines, "")


def _read_summary(path: Path) -> dict[str, Any]:
    summary = read_sealed_json(path)
    try:
        labelled_of([{"recipe": summary["recipe"], **summary}])
    except (KeyError, TypeError):
        raise DataError(f"{path}: not the summary of a shard.") from None
    return summary


def begun_by(folder: Path, shard: Shard) -> str | None:
    """The name of the captioner that began a shard, or where that is not begun another of the folder.

    What cannot be read names nobody.
    """
    own = [folder / f".{shard}.partial.jsonl", folder / f"{shard}.json"]
    others = (path for form in (".shard-*.partial.jsonl", "shard-*.json") for path in folder.glob(form))
    for path in (*own, *others):
        with suppress(DataError, KeyError, TypeError):
            recipe = _read_summary(path)["recipe"] if path.suffix == ".json" else header_of(path)
            return str(recipe["run"])
    return None


def write_shard(
    shard: Shard, folder: Path, records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> Labelled:
    """Write a finished shard.

    Args:
        records: of its images, as `record_of` gives them.
        summary: recipe, seconds, listed, skipped.
    """
    lines = [json.dumps(record, ensure_ascii=False).encode() for record in records]
    checksums = [zlib.crc32(line) for line in lines]
    whole = {"format": _FORM, **summary, "images": len(lines), "crc32": checksums}
    # The summary first: with the captions the shard counts as finished.
    write_sealed_json(folder / f"{shard}.json", whole)
    write_bytes(folder / f"{shard}.jsonl", b"".join(line + b"\n" for line in lines))
    return labelled_of([whole])


def labelled_of(summaries: Sequence[Mapping[str, Any]]) -> Labelled:
    """What came of shards, by their summaries."""
    return Labelled(
        sum(summary["images"] for summary in summaries),
        tuple(Skipped(**skipped) for summary in summaries for skipped in summary["skipped"]),
        sum(summary["seconds"] for summary in summaries),
        tuple(sorted({summary["listed"] for summary in summaries})),
    )


def merge_shards(folder: Path, to: Path) -> Labelled:
    """Join all shards of a labelling into one captions file.

    Raises:
        DataError: shards are missing, damaged or of different options; the message names them.
    """
    names = sorted(path.stem for path in folder.glob("shard-*.jsonl"))
    begun = sorted(path.name[1:].partition(".")[0] for path in folder.glob(".shard-*.partial.jsonl"))
    counts = {int(match[1]) for name in names + begun if (match := re.search(r"-of-(\d+)$", name))}
    if len(counts) != 1:
        what = f"shards of {' and of '.join(map(str, sorted(counts)))}" if counts else "no shard"
        raise DataError(
            f"{folder}: holds {what}; expected the shards of a single `distilcap generate --shards`."
        )
    shards = [Shard(number, counts.copy().pop()) for number in range(max(counts))]
    missing = [shard.number for shard in shards if str(shard) not in names]
    if missing:
        listed = ", ".join(
            f"{number}{' (begun)' if str(shards[number]) in begun else ''}" for number in missing
        )
        raise DataError(
            f"{folder}: {len(missing)} of {len(shards)} shards are missing: {listed}; "
            f"`distilcap generate … --shards {len(shards)} --shard {missing[0]}` makes it."
        )
    summaries: list[dict[str, Any]] = []
    seen: set[str] = set()
    with atomic_path(to) as scratch:
        with scratch.open("wb") as merged:
            for shard in shards:
                path = folder / f"{shard}.jsonl"
                finished = read_shard(shard, folder)
                assert finished is not None, path
                if finished.damage:
                    raise DataError(
                        f"{finished.damage}; `distilcap generate … --shards {shard.count} "
                        f"--shard {shard.number}` makes it again."
                    )
                summaries.append(finished.summary)
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
    return labelled_of(summaries)
