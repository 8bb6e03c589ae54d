"""JSON read into dataclasses and written from them: the annotations say what is expected."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from distilcap.errors import DataError

__all__ = ["from_json"]

T = TypeVar("T")
LIMIT = 2.0**64  # of a number's size: beyond it lies nothing measured, and drawing it would fail


def from_json(kind: type[T], content: Any, where: str | Path, key: str = "") -> T:
    """Read a value of `kind`: a dataclass, a TypedDict, or text, numbers, None, tuples and dicts of such.

    Fields that a dataclass does not have are ignored; those that are missing take their defaults.

    Args:
        content: JSON that `files.parse_json` has parsed.
        where: it came from, for messages.
        key: of the value in it, for messages, such as "rows[2].scores.beam".

    Raises:
        DataError: a key is missing or a value is of another type; one line that names the key.
    """
    value: T = _read(kind, content, where, key)
    return value


def _read(kind: Any, content: Any, where: str | Path, key: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _read_fields(kind, content, where, key)
    if type(None) in arguments:
        other = next(argument for argument in arguments if argument is not type(None))
        return None if content is None else _read(other, content, where, key)
    if origin is dict:
        _expect(isinstance(content, dict), "an object", content, where, key)
        return {
            _read(str, name, where, key): _read(arguments[1], value, where, f"{key}[{reprlib.repr(name)}]")
            for name, value in content.items()
        }
    if origin is tuple:
        _expect(isinstance(content, list), "a list", content, where, key)
        kinds = [arguments[0]] * len(content) if arguments[1] is ... else arguments
        _expect(len(content) == len(kinds), f"a list of {len(kinds)}", content, where, key)
        items = enumerate(zip(kinds, content, strict=True))
        return tuple(_read(inner, value, where, f"{key}[{n}]") for n, (inner, value) in items)
    if kind is str:
        _expect(isinstance(content, str), "text", content, where, key)
        return content
    kinds_of_number = (int,) if kind is int else (int, float)
    right = type(content) in kinds_of_number and abs(content) <= LIMIT
    _expect(right, "a whole number" if kind is int else "a number", content, where, key)
    return content


def _read_fields(kind: Any, content: Any, where: str | Path, key: str) -> Any:
    _expect(isinstance(content, dict), "an object", content, where, key)
    required, values = _required(kind), {}
    for name, annotation in _annotations(kind).items():
        inner = f"{key}.{name}" if key else name
        if name in content:
            values[name] = _read(annotation, content[name], where, inner)
        elif name in required:
            raise DataError(f"{where}: `{inner}` is missing.")
    return kind(**values)


@functools.cache
def _annotations(kind: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _required(kind: Any) -> frozenset[str]:
    if typing.is_typeddict(kind):
        return frozenset(kind.__required_keys__)
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return frozenset(field.name for field in fields if field.default is field.default_factory is missing)


def _expect(right: bool, expected: str, content: Any, where: str | Path, key: str) -> None:
    if not right:
        subject = f"`{key}`" if key else "the content"
        raise DataError(f"{where}: {subject} must be {expected}, but is {reprlib.repr(content)}.")
