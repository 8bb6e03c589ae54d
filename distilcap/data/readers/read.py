"""`read_dataset`: people's files, whatever their form, become a `Dataset`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import SPLITS, Dataset, ImageRecord
from distilcap.data.readers.entries import FATAL, IMAGE_ENDINGS, ReadResult, split_by_hash, split_in
from distilcap.data.readers.folders import read_folder
from distilcap.data.readers.json_forms import read_json_file, read_lines
from distilcap.data.readers.tables import TABLE_ENDINGS, read_table
from distilcap.errors import ConfigError, DataError

__all__ = ["find_entries", "read_dataset"]


def read_dataset(
    path: Path, images: Path | None = None, split: str | None = None, *, need_images: bool = True
) -> Dataset:
    """Read a data set; its form is seen from the file.

    Args:
        path: a captions file (Karpathy's JSON, COCO's, a list of objects, JSON lines, CSV, TSV), a folder
            with such a file, or a folder of images, with or without text files of the same names.
        images: the folder that the images' names start from; looked for beside the captions by default.
        split: the split of entries that name none. By default it is guessed from a COCO file's name, and
            where the data has no split at all, a hash of the id parts it 80 : 10 : 10.
        need_images: refuse a data set of which no image file is there; scores need captions only.

    Empty captions and missing image files are let through here (the captions are left out);
    `check_dataset` names them.

    Raises:
        DataError: the data cannot be read as it is; the message names file and line.
        ConfigError: `split` is not one of "train", "val", "test".
    """
    result = find_entries(path, images, split)
    for problem in result.problems:
        if problem.kind in FATAL:
            count = sum(other.kind in FATAL for other in result.problems)
            tail = f" There are {count - 1} more; `distilcap data check` names them all." if count > 1 else ""
            raise DataError(f"{problem}{tail}")
    if not result.entries:
        raise DataError(f"{path}: there are no images in it.")
    if need_images and not any(os.path.isfile(entry.path) for entry in result.entries.values()):
        example = next(iter(result.entries.values()))
        raise DataError(
            f"{path}: none of the {len(result.entries)} images is there; looked for {example.path} "
            "and so on. Name the folder they are in (`--images`)."
        )
    records = tuple(
        ImageRecord(entry.id, entry.path, entry.split or split_by_hash(entry.id))
        for entry in result.entries.values()
    )
    texts = {entry.id: entry.captions for entry in result.entries.values() if entry.captions}
    return Dataset(_name_of(path), records, CaptionSet.of_texts(texts))


def find_entries(path: Path, images: Path | None = None, split: str | None = None) -> ReadResult:
    """Read the caption files at `path`, find the image files, and keep a list of every problem met.

    Raises:
        DataError: there is nothing to read, or a file as a whole is not of any form.
        ConfigError: `split` is not one of "train", "val", "test".
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"`split` must be one of {', '.join(SPLITS)}, but is '{split}'.")
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: there is no such folder of images.")
    result = ReadResult(path)
    files = _caption_files(path) if path.is_dir() else [path]
    for file in files:
        result.where = file
        _read_file(file, result, split or (split_in(file.name) if len(files) > 1 else None))
    if not files:
        read_folder(path, result, split)
        if not result.entries and not result.problems:
            raise DataError(f"{path}: there is neither a captions file nor an image in this folder.")
    result.where = path
    _check_splits(result)
    _find_images(result, _bases(files[0].parent if files else path, images))
    return result


def _read_file(file: Path, result: ReadResult, split: str | None) -> None:
    ending = file.suffix.lower()
    if ending == ".json":
        read_json_file(file, result, split)
    elif ending in (".jsonl", ".ndjson"):
        read_lines(file, result, split)
    elif ending in TABLE_ENDINGS:
        read_table(file, result, split)
    else:
        raise DataError(f"{file}: expected a captions file in .json, .jsonl, .csv or .tsv, or a folder.")


def _caption_files(folder: Path) -> list[Path]:
    """The captions files of a folder: one, or one for each split; empty for a folder of images.

    Raises:
        DataError: there is more than one, and nothing says which is meant.
    """
    for home in (folder, folder / "annotations"):
        files = sorted(file for file in home.iterdir() if file.is_file()) if home.is_dir() else []
        for names in (("dataset",), ("captions",), ("metadata", "results")):
            endings = (".json", ".jsonl", ".csv", ".tsv", ".txt")
            chosen = [
                file
                for file in files
                if file.name.lower().startswith(names) and file.suffix.lower() in endings
            ]
            if chosen:
                return _only(chosen, folder)
        chosen = [file for file in files if file.suffix.lower() in (".jsonl", ".csv", ".tsv", ".token")]
        if chosen or (chosen := [file for file in files if file.suffix.lower() == ".json"]):
            return _only(chosen, folder)
    return []


def _only(files: list[Path], folder: Path) -> list[Path]:
    splits = [split_in(file.name) for file in files]
    if len(files) > 1 and (None in splits or len(set(splits)) < len(splits)):
        names = ", ".join(file.name for file in files[:5])
        raise DataError(
            f"{folder}: more than one file may hold the captions ({names}); name the file you mean."
        )
    return files


def _check_splits(result: ReadResult) -> None:
    """Either all images have a split, or none has."""
    bare = [entry for entry in result.entries.values() if entry.split is None]
    if bare and len(bare) < len(result.entries):
        for entry in bare:
            message = f"image '{entry.id}' has no split, but other images have."
            result.problem("unknown split", message, entry.line, entry.source)


def _bases(home: Path, images: Path | None) -> list[Path]:
    """The folders that images' names may start from, the likeliest first."""
    if images is not None:
        return [images]
    bases = []
    for folder in (home, home.parent) if home.name == "annotations" else (home,):
        inside = sorted(file for file in folder.iterdir() if file.is_dir() and not file.name.startswith("."))
        bases += [*(child for child in inside if child.name.lower() == "images"), folder, *inside]
    return list(dict.fromkeys(bases))


def _find_images(result: ReadResult, bases: Sequence[Path]) -> None:
    """Give every entry its path: the first that is there, or the likeliest where none is.

    Neighbours in a file lie in one folder, so the folder of the last image is tried first.
    """
    folders = [str(base) for base in bases]
    last = folders[0]
    for entry in result.entries.values():
        names = [entry.name]
        if (
            os.path.splitext(entry.name)[1].lower() not in IMAGE_ENDINGS
        ):  # an id, as in our own captions files
            names += [entry.name + ending for ending in (".jpg", ".png", ".jpeg")]
        candidates = ((folder, os.path.join(folder, name)) for folder in (last, *folders) for name in names)
        missing = last, os.path.join(folders[0], entry.name)
        last, path = next((candidate for candidate in candidates if os.path.isfile(candidate[1])), missing)
        entry.path = Path(path)


def _name_of(path: Path) -> str:
    stem = path.resolve().name if path.is_dir() else path.stem
    return stem.removeprefix("dataset_").removeprefix("captions_")
