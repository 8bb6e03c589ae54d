"""A folder with a captions file in it, or one for each split."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path, PurePath

from distilcap.data.captions import WRITTEN_COLUMNS, is_written
from distilcap.data.readers.entries import ReadResult, split_in
from distilcap.data.readers.registry import DataForm, form_of, register_form
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import read_start
from distilcap.errors import DataError
from distilcap.files import NULLING_DECODER, parse_json
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS
from distilcap.shown import counted, some

__all__ = ["FORM"]

_NAMED = (("dataset",), ("captions",), ("metadata", "results", "meta_cap"))  # the likeliest first
_TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt")


def _files(source: Source) -> list[Path]:
    """The captions files of a folder; empty for a folder of images.

    Raises:
        DataError: there is more than one, and nothing says which is meant.
    """
    if not source.path.is_dir():
        return []
    for home in (source, source.within(source.path / "annotations")):
        groups = [
            [file for file in home.files if file.name.lower().startswith(names) and _ending(file) in _TEXTS]
            for names in _NAMED
        ]
        sides = {file.name.partition(".")[0] for file in home.files if _ending(file) in IMAGE_FILE_ENDINGS}
        loose = [file for file in home.files if file.name.partition(".")[0] not in sides]
        groups.append([file for file in loose if _ending(file) in (".jsonl", ".csv", ".tsv", ".token")])
        groups.append([file for file in loose if _ending(file) == ".json"])
        for group in groups:
            if chosen := [file for file in group if _holds_captions(source.within(file))]:
                return _only(chosen, source.path)
    return []


def _ending(file: Path) -> str:
    return file.suffix.lower()


def _holds_captions(file: Source) -> bool:
    """Whether a file is of a known form.

    Raises:
        DataError: it is called like a captions file, but is of no known form, or broken.
    """
    called_so = file.path.name.lower().startswith(tuple(itertools.chain(*_NAMED[:2])))
    try:
        known = form_of(file) is not None
    except DataError:
        if called_so:
            raise
        return False
    if called_so and not known and not file.path.stem.startswith(("dataset_info", "dataset_dict")):
        raise DataError(f"{file.path}: not a captions file of any known form (docs/data.md shows them).")
    return known


def _only(files: list[Path], folder: Path) -> list[Path]:
    splits = [split_in(file.name) for file in files]
    if len(files) > 1 and (None in splits or len(set(splits)) < len(splits)):
        names = some([file.name for file in files], 5)
        raise DataError(
            f"{folder}: more than one file may hold the captions ({names}); name the file you mean."
        )
    return files


def _read(source: Source, result: ReadResult) -> None:
    files = _files(source)
    for path in files:
        split = source.split or (split_in(path.name) if len(files) > 1 else None)
        file = source.within(path, split)
        _refuse_written(file)
        form = form_of(file)
        assert form is not None
        result.where = path
        form.read(file, result)
    result.homes = [files[0].parent]
    if said := _unread(source, files, result):
        result.notes.append(said)


def _unread(source: Source, files: list[Path], result: ReadResult) -> str:
    """What of the captions files' own folder they leave out; "" where nothing."""
    home = source if files[0].parent == source.path else source.within(files[0].parent)
    images = [file for file in home.files if _ending(file) in IMAGE_FILE_ENDINGS]
    stems = {image.stem for image in images}
    sides = sum(_ending(file) in (".txt", ".caption") and file.stem in stems for file in home.files)
    named = {PurePath(entry.name.replace("\\", "/")).stem for entry in result.entries.values()}
    others = sum(image.stem not in named for image in images)
    lost = [counted(number, what) for number, what in ((sides, "side file"), (others, "image")) if number]
    if not lost:
        return ""
    names = some([file.name for file in files], 5)
    return f"{source.path}: captions are read from {names}; not read: {' and '.join(lost)} of the folder."


def _refuse_written(file: Source) -> None:
    """Refuse what a captioner wrote of these photographs, which nobody means to learn from unasked.

    Raises:
        DataError: it has the columns that `distilcap caption --to` writes, or its record beside it: a `.txt`
            has no columns.
    """
    first = read_start(file.path).partition("\n")[0]
    heads = first.strip().split(",")
    if file.layout == "lines":
        with contextlib.suppress(DataError):  # a line that is no JSON is named when all are read
            value = parse_json(first, file.path, NULLING_DECODER)
            heads = list(value) if isinstance(value, dict) else []
    if tuple(heads) == WRITTEN_COLUMNS or is_written(file.path):
        raise DataError(
            f"{file.path}: captions that `distilcap caption --to` wrote, beside photographs. Move the file "
            "elsewhere; or name it itself to learn from it, with `--images` for where its names begin."
        )


FORM = DataForm(
    "a folder with a captions file",
    "captions.csv, images/1.jpg",
    lambda source: bool(_files(source)),
    _read,
    general=2,
)
register_form(FORM)
