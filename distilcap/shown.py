"""Text from outside as a terminal may show it: what would control the terminal is written out."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["counted", "first_line", "shown", "some"]

# Controls, formats (of direction, among others), halves of characters, separators of lines and paragraphs.
_WRITTEN_OUT = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # formats that belong to words (Persian, Hindi) and to emoji


def shown(text: str) -> str:
    r"""Write `text` in one line that controls nothing: ESC as \x1b, a line's end as \n, U+202E as \u202e.

    Everything that is printed goes through this: words, file names and titles come from strangers. A file
    name that is not UTF-8 has its odd bytes as \udcff and so on.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _WRITTEN_OUT or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def counted(count: int, what: str) -> str:
    """Such as "1 image" and "2,000 images"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def some(names: Sequence[object], limit: int = 3) -> str:
    """The first names, and how many there are beyond them: "a, b, c and 4 more"."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more
