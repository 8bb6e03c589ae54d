"""The Hub's imagefolder: metadata.csv, .jsonl or .parquet with `file_name`, at the root or in each split."""

from __future__ import annotations

from pathlib import Path

from distilcap.data.readers.entries import ReadResult, known_split
from distilcap.data.readers.registry import DataForm, form_of, register_form
from distilcap.data.readers.source import Source

__all__ = ["FORM"]

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def _metadata(source: Source) -> list[Path]:
    inner = [source.within(folder) for folder in source.folders]
    deeper = [source.within(folder) for home in inner for folder in home.folders]
    files = (file for home in (source, *inner, *deeper) for file in home.files)
    return [file for file in files if file.name.lower() in _NAMES and _has_file_names(file)]


def _has_file_names(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1 << 16)
        file.seek(max(0, path.stat().st_size - (1 << 16)))  # where Parquet has its columns
        return b"file_name" in (head + file.read()).replace(b"\0", b"")


def _read(source: Source, result: ReadResult) -> None:
    """Names start from the file's own folder; an image's split is the folder that is called like one."""
    for file in _metadata(source):
        result.where = file
        inside = file.parent.relative_to(source.path).as_posix()
        result.prefix = "" if inside == "." else f"{inside}/"
        metadata = source.within(file)
        form = form_of(metadata)
        if form is not None:
            form.read(metadata, result)
    result.prefix, result.homes = "", [source.path]
    if all(entry.split is None for entry in result.entries.values()):
        for entry in result.entries.values():
            folders = entry.name.replace("\\", "/").split("/")[:-1]
            entry.split = next((split for folder in folders if (split := known_split(folder))), None)


FORM = DataForm(
    "the Hub's imagefolder",
    'train/metadata.jsonl: {"file_name": "1.jpg", "text": "a dog"}',
    lambda source: bool(_metadata(source)),
    _read,
)
register_form(FORM)
