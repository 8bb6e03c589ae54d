"""`read_dataset`: people's files, whatever their form, become a `Dataset`."""

from __future__ import annotations

import os
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord, check_split
from distilcap.data.readers.columns import BY_NAME, Columns
from distilcap.data.readers.entries import FATAL, ReadResult, split_by_hash
from distilcap.data.readers.find import ADDRESS, bases_of, find_images, leave_out_twins
from distilcap.data.readers.registry import form_of
from distilcap.data.readers.source import Source
from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress

__all__ = ["find_entries", "read_dataset"]

LEFT_OUT = 0.1
"""The share of entries not of the form up to which they are named and left out; beyond, the form is wrong."""
LEFT_OUT_KINDS = frozenset({"malformed entry", "unknown image"})
REMARKED = FATAL | {"file name"}  # a photograph that is left out is said, whoever reads
SHOWN = 10  # remarks on entries; `distilcap data check` has all


def read_dataset(
    path: Path,
    images: Path | None = None,
    split: str | None = None,
    *,
    columns: Columns = BY_NAME,
    need_images: bool = True,
    line_breaks: bool = False,
    keep_empty: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Read a data set; its form is seen from the content.

    Args:
        path: a file or folder of any of the forms (`registry.forms`; docs/data.md shows them).
        images: the folder that the images' names start from; looked for beside the captions by default.
        split: the split of entries that name none. By default it is guessed from a COCO file's name, and
            where the data has no split at all, a hash of the id parts it 80 : 10 : 10.
        columns: which hold what, where their names do not say it.
        need_images: refuse a data set of which no image file is there; scores need captions only.
        line_breaks: captions keep theirs, as cleaning needs them; else they become spaces.
        keep_empty: empty captions are kept, as captions to score need them.
        progress: receives remarks, on entries that were left out among others.

    Empty captions and missing image files are let through here (the captions are left out);
    `check_dataset` names them. So are entries that are not of the form, if they are few.

    Raises:
        DataError: the data cannot be read as it is; the message names file and line.
        ConfigError: `split` is not one of "train", "val", "test".
    """
    result = find_entries(path, images, split, columns, line_breaks, keep_empty)
    if need_images:
        leave_out_twins(result)
    _judge(result, progress)
    if not result.entries:
        raise DataError(f"{path}: there are no images in it.")
    if need_images and not any(os.path.isfile(entry.path) for entry in result.entries.values()):
        example = next(iter(result.entries.values()))
        if example.address:
            raise DataError(f"{path}: image {example.name!r} is an address on the internet; {ADDRESS}.")
        raise DataError(
            f"{path}: none of the {len(result.entries)} images is there; looked for {example.path}"
            f"{example.hint or ' and so on'}. Name the folder they are in (`--images`)."
        )
    records = tuple(
        ImageRecord(entry.id, entry.path, entry.split or split_by_hash(entry.id))
        for entry in result.entries.values()
    )
    texts = {entry.id: entry.captions for entry in result.entries.values() if entry.captions}
    return Dataset(_name_of(path), records, CaptionSet.of_texts(texts), by_hash=result.by_hash)


def find_entries(
    path: Path,
    images: Path | None = None,
    split: str | None = None,
    columns: Columns = BY_NAME,
    line_breaks: bool = False,
    keep_empty: bool = False,
) -> ReadResult:
    """Read the caption files at `path`, find the image files, and keep a list of every problem met.

    Raises:
        DataError: there is nothing to read, or a file as a whole is not of any form.
        ConfigError: `split` is not one of "train", "val", "test".
    """
    if split is not None:
        check_split(split)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: there is no such folder of images.")
    source = Source(path, split, columns)
    form = form_of(source)
    if form is None:
        raise DataError(f"{path}: {_unknown(source)}.")
    result = ReadResult(path, notes=source.notes, line_breaks=line_breaks, keep_empty=keep_empty)
    form.read(source, result)
    result.where = path
    result.use_own_ids()
    _check_splits(result)
    homes = result.homes or [path if path.is_dir() else path.parent]
    find_images(result, bases_of(homes, images), named=images is not None)
    return result


def _unknown(source: Source) -> str:
    """What to say of a file that has no known form."""
    if source.layout == "json":
        return (
            "not a captions file. Expected Karpathy's form (a list `images` with `filename`, `split` and "
            "`sentences`), COCO's (`images` and `annotations`), or a list of objects with `image` and "
            "`caption`; docs/data.md shows all forms"
        )
    fixes = {".xlsx": "a workbook; save its sheet as CSV", ".zip": "an archive; unpack it"}
    expected = "expected a captions file (.json, .jsonl, .csv, .tsv, .parquet, .tar) or a folder"
    return fixes.get(source.path.suffix.lower(), expected)


def _judge(result: ReadResult, progress: Progress) -> None:
    """Name what was left out, or refuse data of which too much would be.

    Raises:
        DataError: a problem that forbids reading, or more than a tenth of the entries, and more than one
            caption of no image, are not of the form.
    """
    fatal = [problem for problem in result.problems if problem.kind in FATAL]
    captions = sum(len(entry.captions) for entry in result.entries.values())
    few = len(fatal) <= LEFT_OUT * max(captions, len(result.entries))
    if result.entries and [problem.kind for problem in fatal] == ["unknown image"]:
        few = True  # notes.txt among five photographs
    if fatal and not (few and all(problem.kind in LEFT_OUT_KINDS for problem in fatal)):
        tail = f" There are {len(fatal) - 1} more; `distilcap data check` names them all."
        raise DataError(f"{fatal[0]}{tail if len(fatal) > 1 else ''}")
    remarked = [str(problem) for problem in result.problems if problem.kind in REMARKED]
    remarks = [*remarked, *result.notes]
    for remark in remarks[:SHOWN]:
        progress.note(remark)
    if len(remarks) > SHOWN:
        progress.note(f"… and {len(remarks) - SHOWN:,} more; `distilcap data check` names them all.")


def _check_splits(result: ReadResult) -> None:
    """Either all images have a split, or none has."""
    bare = [entry for entry in result.entries.values() if entry.split is None]
    if bare and len(bare) < len(result.entries):
        for entry in bare:
            message = f"image '{entry.id}' has no split, but other images have."
            result.problem("unknown split", message, entry.line, entry.source)


def _name_of(path: Path) -> str:
    stem = path.resolve().name if path.is_dir() else path.stem
    return stem.removeprefix("dataset_").removeprefix("captions_")
