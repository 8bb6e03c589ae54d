"""Scripts that put no spaces between words: which characters they are, and how captions are put together.

The browser page (`web/search.js`) and the examples for phones hold the same ranges; a test compares the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["UNSPACED", "join_words", "starts_unspaced"]

UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3035\u3038-\u30ff"  # radicals, Han marks and numerals, kana
    "\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # Bopomofo, small kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\uff66-\uff9f"  # halfwidth kana
    "\U0001aff0-\U0001b16f\U00020000-\U0003fffd"  # more kana, more Han
)
"""Content of a regular expression's brackets; Korean is not among them, since it has spaces."""

_STARTS: Final = re.compile(f"[{UNSPACED}]")


def starts_unspaced(word: str) -> bool:
    """Return whether a word is of a script without spaces."""
    return _STARTS.match(word) is not None


def join_words(words: Sequence[str], spaced: bool = True) -> str:
    """Write words as a caption.

    Args:
        spaced: a space between any two words; else none beside words of scripts without spaces.
    """
    if spaced:
        return " ".join(words)
    text, open_end = "", False  # whether what was written last asks for a space
    for word in words:
        wants_space = not starts_unspaced(word)
        text += f" {word}" if open_end and wants_space else word
        open_end = wants_space
    return text
