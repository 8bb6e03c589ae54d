"""Captions as a table: CSV, TSV, and the token files of Flickr8k and Flickr30k."""

from __future__ import annotations

import csv
import functools
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from distilcap.data.readers.columns import Columns, Roles, add_record, roles_of
from distilcap.data.readers.entries import ReadResult
from distilcap.data.readers.forms.records import note_unread, split_checked
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import read_text_lines
from distilcap.errors import DataError
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS

__all__ = ["FORM", "cell", "column_names", "table_rows"]

_NUMBER = re.compile(r"#\d+$")


def table_rows(source: Source) -> Iterator[tuple[list[str], int, str]]:
    """The rows that are not empty, each with its line and the sign between the fields.

    The sign is the one that Excel's "sep=" line names, or else the comma, tab, semicolon or bar that makes
    known columns, or an image's name and more, of the first line; else the most frequent there. Between
    commas and semicolons a field may stand in quotes and go over more than one line; between tabs and bars,
    where stray quotes are common, every line is a row.

    Raises:
        DataError: the quotes do not match.
    """
    first = next((line for line in _lines(source) if line.strip()), "")
    told = re.fullmatch(r'"?sep=(.)"?\s*', first)
    line = 1
    try:
        sign = told[1] if told else _sign_between(first, source.columns)
        rows = csv.reader(_lines(source), delimiter=sign, quoting=_quoting(sign), strict=True)
        for number, row in enumerate(rows):
            if any(field.strip() for field in row) and not (told and number == 0):
                yield row, line, sign
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{source.path}:{line}: not a table: {error}.") from None


def _quoting(sign: str) -> Literal[0, 3]:
    return csv.QUOTE_NONE if sign in "\t|" else csv.QUOTE_MINIMAL


def _sign_between(first: str, columns: Columns) -> str:
    """The sign between the fields of a first line, which other signs may stand in: "Preis, netto"."""

    def fit(sign: str) -> tuple[int, bool, int]:
        heads = column_names(next(csv.reader([first], delimiter=sign, quoting=_quoting(sign)), []))
        roles = roles_of(tuple(heads), columns, titles=True)
        known = sum(any(name in heads for name in names) for names in (roles.images, roles.captions))
        begins = len(heads) > 1 and _names_image(heads[0])
        return 2 if begins else known, sign == "\t" and sign in first, len(heads)

    return max(",;|\t", key=fit)


def _lines(source: Source) -> Iterator[str]:
    """Lines as the `csv` module wants them, whichever sign ended them."""
    for line in read_text_lines(source.path, source.notes.append):
        for part in line.removesuffix("\r").split("\r"):
            yield part + "\n"


def _read(source: Source, result: ReadResult) -> None:
    """Read image, captions and perhaps split, with a header or without.

    "#0" behind the name of an image's file (Flickr8k.token.txt) is the caption's number and dropped.

    Raises:
        DataError: no column holds images and captions, or the quotes do not match.
    """
    heads: list[str] = []
    for row, line, sign in table_rows(source):
        if not heads:
            heads, is_header = _heads(row, source, line)
            roles = roles_of(tuple(heads), source.columns, titles=True)
            roles = split_checked(roles, source, functools.partial(_cells, source, heads))
            result.unread += note_unread(source, {tuple(heads): roles})
            if is_header:
                continue
        if len(row) == len(heads):
            record = dict(zip(heads, (cell(field, sign) for field in row), strict=True))
            record |= {name: _without_number(record[name]) for name in roles.file_names}
            if add_record(result, record, roles, source.split, line):
                continue
            result.malformed(f"an image's name in the column `{roles.file_names[0]}`, but it is empty", line)
            continue
        hint = f"; put a caption that holds '{sign}' into quotes" if len(row) > len(heads) else ""
        result.malformed(f"{len(heads)} fields with an image's name, but it has {len(row)}{hint}", line)


def _cells(source: Source, heads: Sequence[str], name: str) -> Iterator[str]:
    """Those of a column, remarks on the file apart, which are made as its rows are read."""
    index = heads.index(name)
    for row, _, sign in table_rows(replace(source, notes=[])):
        if len(row) == len(heads):
            yield cell(row[index], sign)


def _names_image(field: str) -> bool:
    return posixpath.splitext(_NUMBER.sub("", field))[1].lower() in IMAGE_FILE_ENDINGS


def _without_number(name: str) -> str:
    """The file of "1.jpg#0"; other names keep what is behind "#", as in scene#1.jpg."""
    return _NUMBER.sub("", name) if _names_image(name) else name


def cell(field: str, sign: str) -> str:
    """What a field of `table_rows` says: between tabs and bars, quotes are still around it."""
    field = field.strip()
    if sign in "\t|" and len(field) > 1 and field[0] == field[-1] == '"':
        field = field[1:-1].replace('""', '"')
    return field


def column_names(row: Sequence[str]) -> list[str]:
    """What a header calls its columns; of "caption,caption" the second is `caption 2`."""
    heads = [field.strip().strip('"') for field in row]
    before = (heads[:index].count(head) for index, head in enumerate(heads))
    return [f"{head} {count + 1}" if count else head for head, count in zip(heads, before, strict=True)]


def _heads(row: Sequence[str], source: Source, line: int) -> tuple[list[str], bool]:
    """The names of the columns, and whether this first row is a header."""
    heads = column_names(row)
    columns = source.columns
    named = [name for name in (columns.image_column, *columns.caption_column, columns.split_column) if name]
    if lacking := [name for name in named if name not in heads]:
        raise DataError(
            f"{source.path}:{line}: there is no column `{lacking[0]}`; there are: {' | '.join(heads)[:200]}."
        )
    roles: Roles = roles_of(tuple(heads), columns, titles=True)
    if roles.images and roles.captions:
        return heads, True
    if len(row) >= 2 and _names_image(heads[0]):
        return [*("image", "caption", "split")[: len(row)], *map(str, range(3, len(row)))], False
    raise DataError(
        f"{source.path}:{line}: expected a header with the columns `image` and `caption` (and perhaps "
        f"`split`), but it has '{' | '.join(heads)[:80]}'; name them by `--image-column` and "
        "`--caption-column`."
    )


FORM = DataForm(
    "CSV or TSV (Flickr30k, Kaggle)",
    "image,caption,split",
    lambda source: source.layout == "table",
    _read,
    general=1,
)
register_form(FORM)
