"""METEOR's own normalisation of text, its option `-norm`: lower case, punctuation apart, quotes made plain.

The manual says what it is for; the rules were derived from what the official program does to made-up strings.
Most captions are letters and spaces, and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["NUMERIC", "normalize"]

NUMERIC: Final = "numeric"
"""Mark of an abbreviation that keeps its period before a number only, such as "no. 5"."""

_LETTER: Final = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0400-\u0527\u1d00-\u1d7f\ua640-\ua66e\ua67e-\ua697"
)
"""What counts as a letter; other scripts' letters are separated like punctuation."""

_PLAIN: Final = re.compile(r"[a-z0-9 ]*")
_SPACES: Final = " \t\n\r\f"
_CONTROLS: Final = "".join(map(chr, range(33)))
_QUOTES: Final = str.maketrans({"\u2018": "'", "\u2019": "'", "`": "'", "\u201c": '"', "\u201d": '"'})
_APART: Final = re.compile(
    # Python and Java differ on white space: here the six of ASCII only; the others become words or spaces.
    rf"([^{_LETTER}0-9 \t\n\x0b\f\r.',\-])"
)
_WIDE_SPACE: Final = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_DOTS: Final = re.compile(r"\.{2,}")
_COMMA: Final = re.compile("(?<![0-9]),|,(?![0-9])")
# Of two marks with one character between, the second stays.
_HYPHEN: Final = re.compile(rf"([{_LETTER}0-9.])-([{_LETTER}0-9])")
_QUOTE: Final = re.compile(f"(?<![{_LETTER}0-9])'|'(?![{_LETTER}])")
_CLITIC: Final = re.compile(f"(?<=[{_LETTER}])(?<!'[{_LETTER}])'(?=[{_LETTER}])|(?<=[0-9])'(?=s)")
_HAS_LETTER: Final = re.compile(f"[{_LETTER}]")
_WORD: Final = re.compile(f"[^{_SPACES}]+")


def normalize(text: str, abbreviations: Mapping[str, str]) -> list[str]:
    """Return the words that METEOR sees.

    `abbreviations` are words whose period is part of them, each with "" or `NUMERIC`.
    """
    if _PLAIN.fullmatch(text):
        return text.split()
    text = f" {text.strip(_CONTROLS)} ".translate(_QUOTES).replace("''", '"')
    text = _WIDE_SPACE.sub(" ", _APART.sub(r" \1 ", text))
    text = _DOTS.sub(lambda dots: f" {dots[0]} ", text)
    text = _COMMA.sub(" , ", text).replace("\u2013", "-").replace("--", "-")
    text = _CLITIC.sub(" '", _QUOTE.sub(" ' ", _HYPHEN.sub(r"\1 \2", text)))
    words = _WORD.findall(text)
    following = [*words[1:], ""]
    text = " ".join(map(_period, words, following, [abbreviations] * len(words)))
    return _WORD.findall(text.lower())


def _period(word: str, following: str, abbreviations: Mapping[str, str]) -> str:
    """Treat a word's last period: part of it, dropped with the others of "u.s.", or a word of its own."""
    stem = word[:-1]
    if not word.endswith(".") or not stem.strip("."):
        return word
    if "." in stem and _HAS_LETTER.search(stem):
        return word.replace(".", "")
    kind = abbreviations.get(stem)
    if kind == "" or "a" <= following[:1] <= "z" or (kind == NUMERIC and "0" <= following[:1] <= "9"):
        return word
    return f"{stem} ."
