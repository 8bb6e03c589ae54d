"""JSON objects from outside, read field by field, each with its type and its range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from distilcap.errors import BundleError

__all__ = ["Fields", "described"]

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters (a terminal would obey them), line ends, and halves of characters, which cannot be
printed. Invisible characters that words are written with, such as the joiners of Hindi and Persian, pass."""

MAX_TEXT = 1_000
"""Characters of a name, a licence or a word: German's longest have 80."""


class Fields:
    """The fields of one JSON object; any that does not fit is one line of `BundleError`.

    Attributes:
        content: the object.
    """

    def __init__(self, content: Any, where: str | Path, name: str = "", most: int = 1_000) -> None:
        """Take an object of at most `most` fields that lies at `where`, called `name` there."""
        self.where, self.name = where, name
        if not isinstance(content, dict):
            self.refuse(name, "an object", content)
        if len(content) > most:
            self.refuse(name, f"an object of at most {most:,} fields", content)
        if any(len(field) > MAX_TEXT or _UNPRINTABLE.search(field) for field in content):
            self.refuse(name, "an object whose fields have short, printable names", content)
        self.content: Mapping[str, Any] = content

    def refuse(self, name: str, expected: str, value: Any) -> NoReturn:
        """Say what a field must be, and what it is."""
        subject = f"`{name}`" if name else "it"
        raise BundleError(f"{self.where}: {subject} must be {expected}, but is {described(value)}.")

    def _take(self, field: str) -> tuple[str, Any]:
        """A field's full name and its value."""
        full = f"{self.name}.{field}" if self.name else field
        if field not in self.content:
            raise BundleError(f"{self.where}: it has no `{full}`.")
        return full, self.content[field]

    def only(self, *fields: str) -> None:
        """Refuse fields of other names: they would be ignored, and mean something to whoever wrote them."""
        if unknown := sorted(self.content.keys() - set(fields)):
            raise BundleError(f"{self.where}: `{self.name}` has an unknown field {described(unknown[0])}.")

    def has(self, field: str) -> bool:
        """Whether a field is more than null; it must be there."""
        return self._take(field)[1] is not None

    def object(self, field: str, most: int = 1_000) -> Fields:
        """A field that is an object of at most `most` fields."""
        full, value = self._take(field)
        return Fields(value, self.where, full, most)

    def integer(self, field: str, low: int, high: int) -> int:
        """A field that is a whole number from `low` to `high`."""
        full, value = self._take(field)
        return self._integer(full, value, low, high)

    def _integer(self, full: str, value: Any, low: int, high: int) -> int:
        # JSON's `true` is an `int` to Python.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.refuse(full, f"a whole number from {low:,} to {high:,}", value)
        return value

    def integers(self, field: str, most: int, low: int, high: int) -> tuple[int, ...]:
        """A field that is a list of at most `most` whole numbers from `low` to `high`."""
        full, _ = self._take(field)
        return tuple(self._integer(f"{full}[{at}]", item, low, high) for at, item in self._list(field, most))

    def number(self, field: str, low: float, high: float) -> float:
        """A field that is a number from `low` to `high`."""
        full, value = self._take(field)
        return self._number(full, value, low, high)

    def _number(self, full: str, value: Any, low: float, high: float) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not fits or not math.isfinite(value):
            self.refuse(full, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def numbers(self, field: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """A field that is a list of `count` numbers from `low` to `high`."""
        values = self._list(field, count, count)
        return tuple(self._number(f"{self.name}.{field}[{at}]", item, low, high) for at, item in values)

    def boolean(self, field: str) -> bool:
        """A field that is true or false."""
        full, value = self._take(field)
        if not isinstance(value, bool):
            self.refuse(full, "true or false", value)
        return value

    def text(self, field: str) -> str:
        """A field that is printable text."""
        full, value = self._take(field)
        return self._text(full, value)

    def _text(self, full: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > MAX_TEXT or _UNPRINTABLE.search(value):
            self.refuse(full, f"printable text of at most {MAX_TEXT:,} characters", value)
        return value

    def texts(self, field: str, most: int) -> tuple[str, ...]:
        """A field that is a list of at most `most` printable texts."""
        full, _ = self._take(field)
        return tuple(self._text(f"{full}[{at}]", item) for at, item in self._list(field, most))

    def choice(self, field: str, *choices: str) -> str:
        """A field that is one of `choices`."""
        full, value = self._take(field)
        if not isinstance(value, str) or value not in choices:
            self.refuse(full, " or ".join(f'"{choice}"' for choice in choices), value)
        return value

    def _list(self, field: str, most: int, least: int = 0) -> enumerate[Any]:
        full, value = self._take(field)
        if not isinstance(value, list) or not least <= len(value) <= most:
            length = f"{most:,}" if least == most else f"at most {most:,}"
            self.refuse(full, f"a list of {length}", value)
        return enumerate(value)


def described(value: Any) -> str:
    """A value in an error: short, whatever it is, and on one line."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
