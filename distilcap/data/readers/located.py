"""JSON that remembers on which line each entry of its lists begins."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilcap.errors import DataError
from distilcap.files import JSON_DECODER, json_errors

__all__ = ["LONGEST_LINE", "Located", "read_located_json", "read_utf8", "read_utf8_lines"]

LONGEST_LINE = 16 << 20
"""Bytes of a line of JSON Lines or of a table: parsed it may take twenty times as much memory."""

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


def read_utf8(path: Path) -> str:
    """Read text, with or without a byte order mark.

    Raises:
        DataError: the file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None


def read_utf8_lines(path: Path) -> Iterator[str]:
    """Read text line by line, without the lines' ends; only "\\n" ends a line: captions may hold U+2028.

    Raises:
        DataError: as `read_utf8`; or a line of more than `LONGEST_LINE` bytes, which is not read into memory.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                if len(line) > LONGEST_LINE:
                    size = f"{LONGEST_LINE >> 20} MB"
                    raise DataError(f"{path}:{number}: this line is longer than {size}; no entry is.")
                try:
                    yield line.removesuffix(b"\n").decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise DataError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8.") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None


def read_located_json(path: Path, slim: Callable[[Any], Any] = lambda value: value) -> Located:
    """Read a JSON object or list; `slim` drops what nobody needs of a list's value before the next is read.

    Raises:
        DataError: the file cannot be read or is not JSON; the message names the line.
    """
    text = read_utf8(path)
    with json_errors(path):
        return _Walk(text, slim).run()


class _Walk:
    def __init__(self, text: str, slim: Callable[[Any], Any]) -> None:
        self.text, self.at, self.slim = text, 0, slim
        self.decode = JSON_DECODER.raw_decode
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
