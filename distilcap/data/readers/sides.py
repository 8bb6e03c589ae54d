"""Captions of an image in files beside it: a.txt, a.caption or a.json for a.jpg."""

from __future__ import annotations

from collections.abc import Mapping

from distilcap.data.readers.columns import texts_of
from distilcap.data.readers.entries import Entry, ReadResult
from distilcap.errors import DataError
from distilcap.files import NULLING_DECODER, parse_json

__all__ = ["SIDE_ENDINGS", "add_side_captions"]

SIDE_ENDINGS = (".caption", ".txt", ".json")
"""The first that is there counts: kohya's .txt may hold tags, and img2dataset's .json repeats the .txt."""


def add_side_captions(result: ReadResult, image: Entry, texts: Mapping[str, str]) -> None:
    """Add the captions of an image's side files.

    Args:
        texts: content by ending.
    """
    ending = next((ending for ending in SIDE_ENDINGS if ending in texts), "")
    if ending == ".json":
        try:
            content = parse_json(texts[ending], "", NULLING_DECODER)
        except DataError:
            result.malformed("JSON with a `caption`", None)
        else:
            if isinstance(content, dict) and "caption" in content:
                result.captions(image, texts_of(content["caption"]), None)
    elif ending:
        for number, text in enumerate(_lines(texts[ending]), 1):
            result.caption(image, text, number)


def _lines(text: str) -> list[str]:
    """A caption a line, without the empty lines at the end; an empty file is an empty caption."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    return lines
