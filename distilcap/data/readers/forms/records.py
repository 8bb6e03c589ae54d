"""JSON Lines, and lists of objects in JSON: an object with `image`, and `caption` or `captions`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from distilcap.data.readers.columns import Roles, add_record, roles_of
from distilcap.data.readers.entries import ReadResult, known_split
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import read_text_lines
from distilcap.errors import DataError
from distilcap.files import NULLING_DECODER, parse_json
from distilcap.shown import some

__all__ = ["FORM", "note_unread", "records_of", "split_checked"]

_NAMING = "`--image-column` or `--caption-column` names their path:"
_DEEPEST = 8  # of keys inside others


def records_of(source: Source) -> Iterable[tuple[Any, int]]:
    """The values of JSON Lines or of a list in JSON, each with its line; None where a line is not JSON."""
    if source.layout == "lines":
        return _lines(source)
    return source.json.lists[""]


def _lines(source: Source) -> Iterator[tuple[Any, int]]:
    for number, line in enumerate(read_text_lines(source.path, source.notes.append), 1):
        if line.strip():
            try:
                yield parse_json(line, source.path, NULLING_DECODER), number
            except DataError:
                yield None, number


def _lists(source: Source) -> dict[str, Iterable[tuple[Any, int]]]:
    """The lists of objects by key: the file itself (""), or such as {"train": […], "val": […]}."""
    if source.layout == "lines" or "" in source.json.lists:
        return {"": records_of(source)}
    return {
        key: items for key, items in source.json.lists.items() if items and _is_record(items[0][0], source)
    }


def _is_record(value: Any, source: Source) -> bool:
    roles = roles_of(tuple(value), source.columns) if isinstance(value, dict) else None
    return roles is not None and bool(roles.images and roles.captions)


def _read(source: Source, result: ReadResult) -> None:
    kinds: dict[tuple[str, ...], Roles] = {}
    paths: dict[str, list[str]] = {}
    told, columns = False, source.columns
    named = (columns.image_column, *columns.caption_column, columns.split_column)
    cells = functools.cache(functools.partial(_texts_under, source))
    inner_names = [name for name in named if name and "." in name]
    for key, records in _lists(source).items():
        for value, line in records:
            record = _with_named(value, inner_names) if isinstance(value, dict) else {}
            names = tuple(record)
            if names not in kinds:
                kinds[names] = split_checked(roles_of(names, columns), source, cells)
                paths |= {name: list(_paths(inner, name)) for name, inner in record.items()}
            roles = kinds[names]
            right = all(isinstance(record.get(name), str | list | None) for name in roles.captions)
            if not right or not add_record(result, record, roles, known_split(key) or source.split, line):
                inside = [path for name in names for path in paths[name] if path != name and not told]
                told = told or bool(inside)
                hint = f"; keys inside others are read where {_NAMING} {some(inside, 5)}" if inside else ""
                result.malformed(f'{{"image": …, "caption": …}}{hint}', line)
    _check_named(source, kinds)
    result.unread += note_unread(source, kinds, paths)


def _texts_under(source: Source, name: str) -> set[str]:
    """All texts under a key; remarks on the file are made as its records are read."""
    apart = dataclasses.replace(source, notes=[]) if source.layout == "lines" else source
    values = (value for records in _lists(apart).values() for value, _ in records)
    return {value[name] for value in values if isinstance(value, dict) and isinstance(value.get(name), str)}


def _with_named(record: dict[str, Any], named: Sequence[str]) -> dict[str, Any]:
    """A record, and beside its keys what a person named inside them, such as `response.caption`."""
    inside = {name: _at(record, name) for name in named if name not in record}
    return record | {name: value for name, value in inside.items() if value is not None}


def _at(value: Any, path: str) -> Any:
    """What lies at a path of keys, and of numbers from 0 in lists; None where nothing does."""
    for key in path.split("."):
        if isinstance(value, list):
            value = {str(number): item for number, item in enumerate(value)}
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _paths(value: Any, path: str) -> Iterator[str]:
    """The paths of all texts in a value; of a list of objects, those in its first."""
    if isinstance(value, str):
        yield path
    elif path.count(".") < _DEEPEST:
        if isinstance(value, list):
            value = {"0": value[0]} if value and isinstance(value[0], dict) else {}
        for key, inner in value.items() if isinstance(value, dict) else ():
            yield from _paths(inner, f"{path}.{key}")


def _check_named(source: Source, kinds: Iterable[tuple[str, ...]]) -> None:
    """Refuse a named column that no record has.

    Raises:
        DataError: there is one.
    """
    columns, there = source.columns, dict.fromkeys(name for names in kinds for name in names)
    for name in (columns.image_column, *columns.caption_column, columns.split_column):
        if name and there and name not in there:
            found = " | ".join(there)[:200]
            raise DataError(f"{source.path}: there is no column `{name}`; there are: {found}.")


def split_checked(roles: Roles, source: Source, cells: Callable[[str], Iterable[Any]]) -> Roles:
    """The roles without a split where that is a column called "set" and none of its cells names a split.

    Args:
        source: hears of it.
        cells: gives those of a column.
    """
    name = roles.split
    if source.columns.split_column or name is None or name.strip().casefold() != "set":
        return roles
    if any(isinstance(cell, str) and known_split(cell) for cell in cells(name)):
        return roles
    told = f"{source.path}: the column `{name}` names no train, val or test, and is not read as the split."
    if told not in source.notes:
        source.notes.append(told)
    return dataclasses.replace(roles, split=None)


def note_unread(
    source: Source,
    kinds: Mapping[tuple[str, ...], Roles],
    paths: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[str]:
    """Say which columns might hold captions but were not read; all others, where none was read.

    Args:
        paths: of what lies inside columns, such as `response.caption`.
    """
    unread = dict.fromkeys(name for roles in kinds.values() for name in roles.unread)
    if not any(roles.captions for roles in kinds.values()):
        unread = dict.fromkeys(
            path
            for names, roles in kinds.items()
            for name in names
            if name not in (*roles.images, roles.split)
            for path in paths.get(name) or [name]
        )
    if unread:
        source.notes.append(
            f"{source.path}: not read: {some(list(unread), 10)}; "
            "`--caption-column` names columns of captions (that of `data convert`, if this is not `--data`)."
        )
    return list(unread)


FORM = DataForm(
    "JSON Lines, or a list of objects",
    '{"image": "1.jpg", "captions": ["a dog", "the dog"], "split": "train"}',
    lambda source: bool(_lists(source)),
    _read,
    general=1,
)
register_form(FORM)
