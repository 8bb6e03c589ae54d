"""Captions of an image in files beside it: a.txt, a.caption or a.json for a.jpg."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from distilcap.data.readers.columns import texts_of
from distilcap.data.readers.entries import Entry, ReadResult
from distilcap.errors import DataError
from distilcap.files import NULLING_DECODER, parse_json

__all__ = ["SIDE_ENDINGS", "add_side_captions", "captions_in_json"]

SIDE_ENDINGS = (".caption", ".txt", ".json")
"""The first that is there counts: kohya's .txt may hold tags, and img2dataset's .json repeats the .txt."""

_TITLE = re.compile(r"(?m)\A\s*(?:#{1,6}[ \t]|\*\*[^*\n]+\*\*:?[ \t\r]*$|<think>)")
_CODE = re.compile(r"(?m)^[ \t]*```|\A\s*\{(?!.*\}\s*$)(?s:.*)\}\s*\Z")  # not an object a line
_SHORT = 20  # words of a line
_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*+•]|\d{1,2}[.)])[ \t]")


def add_side_captions(result: ReadResult, image: Entry, texts: Mapping[str, str]) -> None:
    """Add the captions of an image's side files.

    Args:
        texts: content by ending.
    """
    ending = next((ending for ending in SIDE_ENDINGS if ending in texts), "")
    if ending == ".json":
        try:
            captions = captions_in_json(texts[ending])
        except DataError:
            result.malformed("JSON with a `caption`", None)
        else:
            if captions is not None:
                result.captions(image, captions, None)
    elif ending:
        whole = texts[ending]
        lines = [whole] if result.line_breaks and _is_one_caption(whole) else _lines(whole)
        for number, text in enumerate(lines, 1):
            result.caption(image, text, number)


def captions_in_json(text: str) -> list[Any] | None:
    """The captions of an image's .json; None where it has none.

    Raises:
        DataError: it is no JSON.
    """
    content = parse_json(text, "", NULLING_DECODER)
    if not isinstance(content, dict):
        return None
    if "caption" in content:
        return texts_of(content["caption"])
    # Other programs have these keys, too: for boxes, files of subtitles, what is written in the image.
    several, text_alone = content.get("captions"), content.get("text")
    if isinstance(several, list) and all(isinstance(text, str) for text in several):
        return several
    return [text_alone] if isinstance(text_alone, str) else None


def _is_one_caption(text: str) -> bool:
    """Whether a large model wrote a caption of several lines: paragraphs, a title with a text, a list, JSON.

    Three short lines or more, with blank ones between, are a person's captions.
    """
    if _TITLE.match(text) or _CODE.search(text) or len(_ITEM.findall(text)) > 1:
        return True
    paragraphs = re.split(r"\n\s*\n", text.strip())
    short = all("\n" not in each and len(each.split()) <= _SHORT for each in paragraphs)
    return len(paragraphs) > 1 and not (short and len(paragraphs) > 2)


def _lines(text: str) -> list[str]:
    """A caption a line, without the empty lines at the end; an empty file is an empty caption."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    return lines
