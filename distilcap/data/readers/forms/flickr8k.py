"""Flickr8k as its authors give it: Flickr8k.token.txt, with the lists of each split's images."""

from __future__ import annotations

from pathlib import Path

from distilcap.data.readers.entries import ReadResult, image_id_of
from distilcap.data.readers.registry import DataForm, form_of, register_form
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import read_text_lines
from distilcap.errors import DataError
from distilcap.shown import some

__all__ = ["FORM"]

_TOKENS = ("flickr8k.token.txt", "flickr8k.token", "flickr30k.token", "results_20130124.token")
_LISTS = {"train": "trainImages.txt", "val": "devImages.txt", "test": "testImages.txt"}


def _files(source: Source) -> list[Path]:
    """Of the folder and the folders in it: the texts are an archive of their own."""
    return [file for home in (source, *map(source.within, source.folders)) for file in home.files]


def _token_file(source: Source) -> Path | None:
    return next((file for file in _files(source) if file.name.lower() in _TOKENS), None)


def _lists(source: Source) -> dict[str, Path]:
    return {
        split: file
        for split, ending in _LISTS.items()
        for file in _files(source)
        if file.name.lower().endswith("_" + ending.lower())
        or file.name.lower().endswith("." + ending.lower())
    }


def _read(source: Source, result: ReadResult) -> None:
    """Images of none of the lists are left out, as the authors do."""
    token = _token_file(source)
    assert token is not None
    captions = source.within(token)
    form = form_of(captions)
    if form is None:
        raise DataError(f"{token}: expected an image's name, a tab and a caption in every line.")
    result.where = token
    form.read(captions, result)
    result.homes = [source.path, *source.folders]
    splits = {
        image_id_of(line.strip()): split
        for split, file in _lists(source).items()
        for line in read_text_lines(file, source.notes.append)
    }
    unlisted = [image_id for image_id in result.entries if image_id not in splits]
    for image_id in unlisted:
        del result.entries[image_id]
    for image_id, entry in result.entries.items():
        entry.split = splits[image_id]
    if unlisted:
        result.notes.append(f"{token}: left out, since no list has them: {some(unlisted)}.")


FORM = DataForm(
    "Flickr8k with its lists of splits",
    "Flickr8k.token.txt, Flickr_8k.trainImages.txt",
    lambda source: _token_file(source) is not None and bool(_lists(source)),
    _read,
)
register_form(FORM)
