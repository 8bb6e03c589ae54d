"""Captions as a table: CSV, TSV, and the token files of Flickr8k and Flickr30k."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from distilcap.data.readers.entries import (
    CAPTION_NAMES,
    IMAGE_ENDINGS,
    IMAGE_NAMES,
    SPLIT_NAMES,
    ReadResult,
    image_id_of,
)
from distilcap.data.readers.located import read_utf8_lines
from distilcap.errors import DataError

__all__ = ["TABLE_ENDINGS", "read_table"]

TABLE_ENDINGS = frozenset({".csv", ".tsv", ".txt", ".token"})


def read_table(path: Path, result: ReadResult, split: str | None = None) -> None:
    """Read a CSV or TSV file of image, caption and perhaps split, with a header or without.

    The sign between the fields is a comma, tab, semicolon or bar, whichever the first line shows.
    "#0" behind an image's name (Flickr8k.token.txt) is the caption's number and dropped. Between commas and
    semicolons a field may stand in quotes and go over more than one line; between tabs and bars, where stray
    quotes are common, every line is a row.

    Raises:
        DataError: no column holds images and captions, or the quotes do not match.
    """
    first = next((line for line in _lines(path) if line.strip()), "")
    sign = "\t" if "\t" in first else max(",;|", key=first.count)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if sign in "\t|" else csv.QUOTE_MINIMAL
    rows = csv.reader(_lines(path), delimiter=sign, quoting=quoting, strict=True)
    columns: dict[str, int] | None = None
    line = 1
    try:
        for row in rows:
            if any(field.strip() for field in row):
                if columns is None:
                    columns, is_header = _columns(row, path, line)
                    width = len(row)
                    if is_header:
                        line = rows.line_num + 1
                        continue
                _read_row(row, columns, width, sign, result, split, line)
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: not a table: {error}.") from None


def _lines(path: Path) -> Iterator[str]:
    """Lines as the `csv` module wants them, whichever sign ended them."""
    for line in read_utf8_lines(path):
        for part in line.removesuffix("\r").split("\r"):
            yield part + "\n"


def _columns(row: Sequence[str], path: Path, line: int) -> tuple[dict[str, int], bool]:
    """Which column is what, and whether this first row is a header."""
    heads = [field.strip().lower() for field in row]
    columns = {
        what: next((heads.index(name) for name in names if name in heads), -1)
        for what, names in (("image", IMAGE_NAMES), ("caption", CAPTION_NAMES), ("split", SPLIT_NAMES))
    }
    if columns["image"] >= 0 and columns["caption"] >= 0:
        return columns, True
    name = re.sub(r"#\d+$", "", heads[0])
    if len(row) >= 2 and PurePosixPath(name).suffix in IMAGE_ENDINGS:
        return {"image": 0, "caption": 1, "split": 2 if len(row) > 2 else -1}, False
    raise DataError(
        f"{path}:{line}: expected a header with the columns `image` and `caption` (and perhaps `split`), "
        f"but it has '{' | '.join(row)[:80]}'."
    )


def _read_row(
    row: Sequence[str],
    columns: dict[str, int],
    width: int,
    sign: str,
    result: ReadResult,
    split: str | None,
    line: int,
) -> None:
    name = re.sub(r"#\d+$", "", row[columns["image"]].strip()) if len(row) == width else ""
    if not name:
        hint = f"; put a caption that holds '{sign}' into quotes" if len(row) > width else ""
        result.malformed(f"{width} fields with an image's name, but it has {len(row)}{hint}", line)
        return
    own = row[columns["split"]].strip() if columns["split"] >= 0 else ""
    image = result.image(image_id_of(name), name, own or split, line, repeats=True)
    if image is not None:
        caption = row[columns["caption"]].strip()
        if sign in "\t|" and len(caption) > 1 and caption[0] == caption[-1] == '"':
            caption = caption[1:-1].replace('""', '"')
        result.caption(image, caption, line)
