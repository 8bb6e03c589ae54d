"""JSON that remembers on which line each entry of its lists begins."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilcap.data.readers.text import read_text
from distilcap.files import NULLING_DECODER, json_errors

__all__ = ["Located", "read_located_json"]

_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Located:
    """A JSON file taken apart one level deep.

    Attributes:
        lists: the file's lists by key, as (value, line) pairs; a file that is itself a list has key "".
        others: the values that are not lists.
    """

    lists: dict[str, list[tuple[Any, int]]]
    others: dict[str, Any]


def read_located_json(
    path: Path,
    slim: Callable[[Any], Any] = lambda value: value,
    note: Callable[[str], None] = lambda message: None,
) -> Located:
    """Read a JSON object or list; NaN is null.

    Args:
        slim: drops what nobody needs of a list's value before the next is read.
        note: receives a remark where the file is not UTF-8.

    Raises:
        DataError: the file cannot be read or is not JSON, or an object has a key twice; the message names the
            line.
    """
    text = read_text(path, note)
    with json_errors(path):
        return _Walk(text, slim).run()


class _Walk:
    def __init__(self, text: str, slim: Callable[[Any], Any]) -> None:
        self.text, self.at, self.slim = text, 0, slim
        self.decode = NULLING_DECODER.raw_decode
        self.line, self.counted = 1, 0

    def run(self) -> Located:
        located = Located({}, {})
        if self.next() == "[":
            located.lists[""] = list(self.items())
        elif self.next() == "{":
            self.members(located)
        else:
            self.fail("Expecting an object or a list")
        if self.next():
            self.fail("Extra data")
        return located

    def members(self, located: Located) -> None:
        self.at += 1
        if self.next() == "}":
            self.at += 1
            return
        while True:
            if self.next() != '"':
                self.fail("Expecting property name enclosed in double quotes")
            key = self.value()
            if key in located.lists or key in located.others:
                self.fail(f"the key {key!r} is there twice, of which one would be lost")
            self.take(":")
            if self.next() == "[":
                located.lists[key] = list(self.items())
            else:
                located.others[key] = self.value()
            if self.next() == "}":
                self.at += 1
                return
            self.take(",")

    def items(self) -> Iterator[tuple[Any, int]]:
        self.at += 1
        if self.next() == "]":
            self.at += 1
            return
        while True:
            self.next()
            self.line += self.text.count("\n", self.counted, self.at)
            self.counted = self.at
            yield self.slim(self.value()), self.line
            if self.next() == "]":
                self.at += 1
                return
            self.take(",")

    def next(self) -> str:
        """Skip white space; give the character there, or nothing at the end."""
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.text[self.at : self.at + 1]

    def take(self, sign: str) -> None:
        if self.next() != sign:
            self.fail(f"Expecting '{sign}' delimiter")
        self.at += 1

    def value(self) -> Any:
        self.next()
        value, self.at = self.decode(self.text, self.at)
        return value

    def fail(self, message: str) -> None:
        raise json.JSONDecodeError(message, self.text, self.at)
